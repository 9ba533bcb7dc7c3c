/** What tints and lines of a text mean. */

const STEPS = ['down3', 'down2', 'down1', 'same', 'up1', 'up2', 'up3'];

export function Legend() {
  return (
    <p class="legend">
      <span>
        Memory made it <b class="tok ink down2">less likely</b>
      </span>
      <span class="scale" aria-hidden="true">
        {STEPS.map((name) => (
          <i key={name} class={`tok ink ${name}`} />
        ))}
      </span>
      <span>
        <b class="tok ink up2 e2">likelier</b>
      </span>
      <span>The thicker the line, the more of its probability came from documents.</span>
    </p>
  );
}
