/** Messages as the steps of a request know them: heads with fields, and content that is pulled. */

import type { ProxyError } from "../core/errors.ts";
import type { HeaderFields } from "./header_fields.ts";

/** Bytes as sockets and web streams take them. */
export type Bytes = Uint8Array<ArrayBuffer>;

/** The content of a message; whoever reads it sets the pace. */
export interface Body {
  /** How many bytes it has, when that is known before it ends; otherwise `null`. */
  readonly length: number | null;
  /** The piece that {@linkcode Body.read} would give at once; `null` when it has to be waited for. */
  readonly ready: Bytes | null;
  /** All of it, when that is at hand already and nothing of it was read; otherwise `null`. Lent as pieces are. */
  readonly whole: Bytes | null;
  /**
   * Waits for the next piece; `null` at the end.
   *
   * A piece is lent: it is good until the next call of {@linkcode Body.read} or {@linkcode Body.cancel}.
   *
   * @throws {ProxyError} why there is no more, when that is not the end
   */
  read(): Promise<Bytes | null>;
  /** Lets go of what was not read; does nothing at the end. */
  cancel(reason?: unknown): void;
  /** Trailer fields as name, value, name, value, ..., known at the end; names are lower case. */
  readonly trailers: readonly string[];
}

/** The content of a request, which may have to be sent more than once. */
export interface RequestBody extends Body {
  /** Whether nothing more will be read from the client. */
  readonly ended: boolean;
  /** Why the client's content could not be read; `null` as long as it could. */
  readonly failure: ProxyError | null;
  /** Whether {@linkcode RequestBody.rewind} is possible. */
  readonly repeatable: boolean;
  /** Begins from the beginning again, for another server. */
  rewind(): void;
}

/** The head of a response; a filter edits it in place. */
export interface ResponseHead {
  /** Status code. */
  status: number;
  /** Reason phrase; `""` for none. */
  statusText: string;
  /** Fields in order. */
  readonly headers: HeaderFields;
}
