/** The end of `@std/log` that writes. */

import { BaseHandler, type FormatterFunction, type LevelName } from "@std/log/base-handler";
import type { LineWriter } from "./line_writer.ts";

/** A handler of `@std/log` that hands its lines to a {@linkcode LineWriter}. */
export class LineHandler extends BaseHandler {
  readonly #writer: LineWriter;

  constructor(level: LevelName, formatter: FormatterFunction, writer: LineWriter) {
    super(level, { formatter });
    this.#writer = writer;
  }

  /** Takes a line that is formatted already. */
  override log(line: string): void {
    this.#writer.line(line);
  }

  /** Writes what waits and ends. */
  override destroy(): void {
    this.#writer[Symbol.dispose]();
  }
}
