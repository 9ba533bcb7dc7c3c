/** Copy what is shown: as a link, as JSON, as an image. */
import { useState } from 'preact/hooks';
import { drawInspection, type Picture } from '../state/copy-image.ts';

export interface CopyButtonsProps {
  json: () => unknown;
  picture?: () => Picture;
  /** Why there is no link, when what is shown is too long for one. */
  noLink?: string;
}

export function CopyButtons({ json, picture, noLink }: CopyButtonsProps) {
  const [said, setSaid] = useState('');
  const say = (done: Promise<string>): void => {
    done.then(setSaid, (error: Error) => setSaid(`Not copied: ${error.message}`));
  };
  return (
    <div class="copy">
      <button
        type="button"
        class="plain"
        disabled={noLink !== undefined}
        title={noLink}
        onClick={() => say(copyText(location.href, 'Link copied'))}
      >
        Copy link
      </button>
      <button
        type="button"
        class="plain"
        onClick={() => say(copyText(JSON.stringify(json(), null, 2), 'JSON copied'))}
      >
        Copy JSON
      </button>
      {picture && (
        <button type="button" class="plain" onClick={() => say(copyImage(picture()))}>
          Copy image
        </button>
      )}
      <span role="status" class="soft">
        {said}
      </span>
    </div>
  );
}

async function copyText(text: string, done: string): Promise<string> {
  await navigator.clipboard.writeText(text);
  return done;
}

/** Where the clipboard takes no images, the image is downloaded. */
async function copyImage(picture: Picture): Promise<string> {
  const blob = await drawInspection(picture);
  try {
    await navigator.clipboard.write([new ClipboardItem({ 'image/png': blob })]);
    return 'Image copied';
  } catch {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(blob);
    link.download = 'knnlm.png';
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    return 'Image downloaded';
  }
}
