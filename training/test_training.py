"""Tests of the recipe, without a test framework: python -m unittest discover training"""

import json
import math
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from average import average
from data import Blocks, Sources, as_windows, read_documents, split
from device import Device
from errors import RecipeError
from evaluate import document_nats, windows
from export import export
from model import LanguageModel, ModelConfig
from optim import rate_at
from parity import check_parity
from presets import PRESETS
from tokenizer import train_tokenizer
from wikitext import articles, detokenize

CPU = Device("cpu", bf16=False, tokens_at_once=4_096)
WORDS = "the river runs past the old mill and the miller counts his sacks of flour in 1987 and 2023 "


def small(**changes) -> ModelConfig:
    sizes = {
        "vocab_size": 300,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 32,
    }
    return ModelConfig(**(sizes | changes))


def documents(count: int = 40) -> str:
    texts = [f"Document {i}. " + WORDS * (1 + i % 5) for i in range(count)]
    return "".join(json.dumps({"id": str(i), "text": text}) + "\n" for i, text in enumerate(texts))


class Folder(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.text = self.folder / "text.jsonl"
        self.text.write_text(documents())

    def run_recipe(self, out: str, *options: str) -> subprocess.CompletedProcess:
        command = [
            sys.executable,
            HERE / "run.py",
            "--preset",
            "smoke",
            "--text",
            self.text,
            "--out",
            self.folder / out,
            "--threads",
            "1",
            "--precision",
            "fp32",
            "--vocab",
            "290",
            "--tokens",
            "24576",
            *options,
        ]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True)


class TokenizerTest(unittest.TestCase):
    def test_gives_back_any_text_and_one_token_per_digit(self):
        tokenizer = train_tokenizer([WORDS * 50], 290)
        for text in ("the mill", " \n\ttabs ", "größer 東京 🙂", "", "\x00\x7f"):
            self.assertEqual(tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False), text)
        self.assertEqual(tokenizer.encode("1987").tokens, ["1", "9", "8", "7"])
        self.assertEqual(tokenizer.token_to_id("<|endoftext|>"), 0)

    def test_refuses_a_vocabulary_the_text_cannot_fill(self):
        with self.assertRaisesRegex(RecipeError, "fewer than the 5000 wanted"):
            train_tokenizer(["a few words"], 5000)


class DataTest(Folder):
    def test_reads_every_block_once_per_pass_in_an_order_that_the_seed_fixes(self):
        blocks, again, other = (Blocks(np.arange(101, dtype=np.uint16), 10, seed) for seed in (1, 1, 2))
        first = blocks.read(0, 10)
        self.assertEqual(sorted(first[:, 0].tolist()), list(range(0, 100, 10)))
        self.assertTrue(torch.equal(torch.cat([again.read(i, 1) for i in range(10)]), first))
        self.assertFalse(torch.equal(blocks.read(10, 10), first))
        self.assertFalse(torch.equal(other.read(0, 10), first))

    def test_cuts_a_block_into_windows_whose_targets_are_the_next_tokens(self):
        inputs, targets = as_windows(torch.arange(9)[None], 4)
        self.assertEqual(inputs.tolist(), [[0, 1, 2, 3], [4, 5, 6, 7]])
        self.assertEqual(targets.tolist(), [[1, 2, 3, 4], [5, 6, 7, 8]])

    def test_holds_out_documents_that_it_does_not_train_on(self):
        self.text.write_text(documents(130))
        train, held = split(Sources([self.text]))
        self.assertEqual([name for name, _ in held], ["0", "64", "128"])
        self.assertEqual(len(list(train)), 127)

    def test_trains_on_a_share_of_the_documents_and_holds_out_the_same_ones(self):
        self.text.write_text(documents(130))
        train, held = split(Sources([self.text], one_in=50))
        self.assertEqual([name for name, _ in held], ["0", "64", "128"])
        self.assertEqual([name for name, _ in train], ["1", "51", "102"])

    def test_names_the_line_that_is_not_a_document(self):
        self.text.write_text('{"text": "fine"}\n{"txt": 1}\n')
        with self.assertRaisesRegex(RecipeError, "text.jsonl:2"):
            list(read_documents([self.text]))


class WikitextTest(unittest.TestCase):
    def test_takes_out_the_spaces_that_tokens_have(self):
        for line, text in (
            (" It weighs 0 @.@ 7 kg ( 1 @,@ 500 g ) , red @-@ tipped . \n", "It weighs 0.7 kg (1,500 g), red-tipped."),
            (' " Lobsters " , he said , " do n\'t " . \n', '"Lobsters", he said, "don\'t".'),
            (" the crew 's <unk> were n't there ; \n", "the crew's <unk> weren't there;"),
            (" = = Life cycle = = \n", "Life cycle"),
        ):
            self.assertEqual(detokenize(line), text)

    def test_ends_an_article_where_the_next_title_stands(self):
        lines = [" \n", " = A = \n", " \n", " One . \n", " = = Part = = \n", " Two . \n", " = B = \n", " Three . \n"]
        self.assertEqual(list(articles(lines)), [("A", "A\n\nOne.\n\nPart\n\nTwo."), ("B", "B\n\nThree.")])


class ModelTest(Folder):
    def test_equals_transformers_with_the_same_weights(self):
        try:
            from transformers import AutoModelForCausalLM
        except ImportError:
            self.skipTest("transformers is not installed")
        for config in (small(), small(num_key_value_heads=2, rope_theta=500.0)):
            torch.manual_seed(3)
            model = LanguageModel(config).eval()
            model.save(self.folder)
            theirs = AutoModelForCausalLM.from_pretrained(self.folder, dtype=torch.float32).eval()
            ids = torch.randint(config.vocab_size, (2, 20))
            with torch.no_grad():
                torch.testing.assert_close(model(ids)[0], theirs(ids).logits, atol=1e-5, rtol=0)

    def test_exports_what_pytorch_computes_with_grouped_heads_and_without(self):
        for config in (small(), small(num_key_value_heads=1)):
            model = LanguageModel(config)
            # Weights far from their small initial values, so that a wrong graph cannot hide.
            torch.nn.init.normal_(model.model.embed_tokens.weight, std=1.0)
            self.assertLess(max(check_parity(model, export(model, self.folder)).values()), 1e-4)

    def test_exports_weights_of_half_the_size_that_can_be_taken_out_again(self):
        model = LanguageModel(small(vocab_size=4096))
        model.save(self.folder)
        whole = export(model, self.folder).stat().st_size
        path = export(model, self.folder, "fp16")
        self.assertLess(path.stat().st_size, 0.6 * whole)
        self.assertLess(max(check_parity(model, path).values()), 1e-4)
        out = self.folder / "again"
        command = [sys.executable, str(HERE / "onnx_weights.py"), str(self.folder), str(out)]
        subprocess.run(command, check=True)
        for name, value in LanguageModel.load(out).state_dict().items():
            self.assertTrue(torch.equal(value, model.state_dict()[name]), name)

    def test_averages_models_of_one_shape_and_refuses_others(self):
        one, other, out = (self.folder / name for name in ("one", "other", "mean"))
        models = []
        for seed, folder in enumerate((one, other)):
            torch.manual_seed(seed)
            models.append(LanguageModel(small()))
            models[-1].save(folder)
            train_tokenizer([WORDS * 50], 290).save(str(folder / "tokenizer.json"))
        self.assertEqual(average([one, other], [3, 1], out), [0.75, 0.25])
        mean = dict(LanguageModel.load(out).named_parameters())
        first, second = (dict(model.named_parameters()) for model in models)
        for name, weight in mean.items():
            self.assertTrue(torch.allclose(weight, 0.75 * first[name] + 0.25 * second[name], atol=1e-7), name)
        self.assertTrue(check_parity(LanguageModel.load(out), export(LanguageModel.load(out), out, "fp32")))
        LanguageModel(small(num_hidden_layers=1)).save(other)
        with self.assertRaisesRegex(RecipeError, "another shape"):
            average([one, other], None, out)
        with self.assertRaisesRegex(RecipeError, "needs one above 0"):
            average([one, out], [1, 0], self.folder / "none")

    def test_finds_a_difference_when_there_is_one(self):
        model = LanguageModel(small())
        path = export(model, self.folder)
        model.model.layers[0].mlp.up_proj.weight.data[0, 0] += 5
        with self.assertRaisesRegex(RuntimeError, "differs from PyTorch"):
            check_parity(model, path)

    def test_refuses_a_config_it_does_not_compute(self):
        with self.assertRaisesRegex(RecipeError, "hidden_act"):
            ModelConfig.from_json(small().to_json() | {"hidden_act": "gelu"})


class EvaluationTest(unittest.TestCase):
    def test_counts_every_target_once(self):
        for length in (1, 7, 8, 9, 23):
            counted = [i for _, first, end in windows(length, 8, 3) for i in range(first, end)]
            self.assertEqual(counted, list(range(length)))

    def test_gives_a_uniform_model_the_logarithm_of_its_vocabulary(self):
        model = LanguageModel(small())
        torch.nn.init.zeros_(model.model.embed_tokens.weight)
        nats = document_nats(model, list(range(50)), window=16, stride=8, device=CPU)
        self.assertAlmostEqual(nats, 51 * math.log(300), places=3)


class ScheduleTest(unittest.TestCase):
    def test_warms_up_stays_and_falls_to_the_final_rate(self):
        preset = PRESETS["wiki-mini"]
        self.assertAlmostEqual(rate_at(preset, 0, 0.0), 1 / 40)
        self.assertEqual(rate_at(preset, 40, 0.5), 1)
        self.assertAlmostEqual(rate_at(preset, 1000, 0.75), 0.515)
        self.assertAlmostEqual(rate_at(preset, 1000, 1.0), 0.03)


class RecipeTest(Folder):
    def test_an_interrupted_run_ends_with_the_weights_of_one_that_was_not(self):
        whole = self.run_recipe("whole")
        self.assertEqual(whole.returncode, 0, whole.stderr)
        self.assertIn("is not empty", self.run_recipe("whole").stderr)
        self.assertEqual(self.run_recipe("parts", "--stop-after", "3").returncode, 0)
        resumed = self.run_recipe("parts", "--resume")
        self.assertEqual(resumed.returncode, 0, resumed.stderr)
        weights = [(self.folder / out / "model.safetensors").read_bytes() for out in ("whole", "parts")]
        self.assertEqual(weights[0], weights[1])

        self.assertIn("other settings", self.run_recipe("parts", "--resume", "--seed", "7").stderr)
        longer = self.run_recipe("parts", "--resume", "--tokens", "28672")
        self.assertEqual(json.loads(longer.stdout)["tokens"], 28672, longer.stderr)

        further = self.run_recipe("further", "--init-from", str(self.folder / "whole"))
        self.assertEqual(further.returncode, 0, further.stderr)
        before, after = (json.loads(run.stdout)["evaluation"]["bitsPerByte"] for run in (whole, further))
        self.assertLess(after, before)

    def test_learns_with_adamw_and_says_so_in_the_card(self):
        run = self.run_recipe("adamw", "--optimizer", "adamw", "--weights", "fp16", "--evaluate", str(self.text))
        self.assertEqual(run.returncode, 0, run.stderr)
        card = (self.folder / "adamw" / "RESULTS.md").read_text()
        self.assertIn("Matrices by AdamW (rate 0.003, decay 0.01)", card)
        self.assertIn("| text | 40 |", card)
        bits = json.loads(run.stdout)["evaluation"]["bitsPerByte"]
        # Untrained it has over eight.
        self.assertLess(bits, 4)

    def test_mistakes_end_in_one_line_and_status_2(self):
        for options, words in (
            (["--resume"], "no checkpoint"),
            (["--init-from", str(self.folder / "nowhere")], "has no config.json"),
            (["--valid", str(self.folder / "nowhere")], "no file or folder"),
        ):
            run = self.run_recipe("out", *options)
            self.assertEqual(run.returncode, 2, run.stderr)
            self.assertIn(words, run.stderr)
            self.assertEqual(run.stderr.count("\n"), 1, run.stderr)


if __name__ == "__main__":
    unittest.main()
