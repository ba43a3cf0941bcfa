/** What stands beside the pad: a picture from a file, and the pixels that are sent. */

import { Button } from "@patternfly/react-core";
import { useEffect, useRef, type ChangeEvent } from "react";

import type { Picture } from "./pictures";
import { paint } from "./raster";

export function Choose({ put }: { put: (file: File | undefined) => void }) {
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <input
        ref={input}
        type="file"
        accept="image/*"
        hidden
        aria-label="Picture"
        onChange={(event: ChangeEvent<HTMLInputElement>) => {
          put(event.target.files?.[0]);
          event.target.value = "";
        }}
      />
      <Button variant="secondary" size="sm" onClick={() => input.current?.click()}>
        Picture from a file…
      </Button>
    </>
  );
}

/** The very pixels that are sent. */
export function Preview({ picture, brightness }: { picture: Picture; brightness: Float32Array }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    if (canvas.current) paint(canvas.current, brightness, picture);
  }, [brightness, picture]);
  const factor = 96 / Math.max(picture.height, picture.width);
  return (
    <figure className="yard-pad-preview">
      <canvas
        ref={canvas}
        width={Math.round(picture.width * factor)}
        height={Math.round(picture.height * factor)}
        role="img"
        aria-label="What the model gets"
      />
      <figcaption className="yard-quiet">What the model gets</figcaption>
    </figure>
  );
}
