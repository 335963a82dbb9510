/** What the three ways of ending a response body have in common. */

/**
 * Finds the content of one body in the bytes that come in.
 *
 * The results of a {@linkcode BodyReader.read} are fields rather than an object, so that reading allocates nothing.
 */
export interface BodyReader {
  /**
   * Looks at `bytes[from..to)`, and may move content about in there.
   *
   * @throws {UpstreamError} `http_protocol_error`
   */
  read(bytes: Uint8Array, from: number, to: number): void;
  /** Where the content found by the last read begins. */
  readonly contentStart: number;
  /** Where it ends. */
  readonly contentEnd: number;
  /** The first byte that the last read left alone: `to`, unless the body ended before. */
  readonly next: number;
  /** Whether the body has ended. */
  readonly done: boolean;
  /** Whether the end of the connection is the end of the body, rather than the loss of a part of it. */
  readonly endsWithConnection: boolean;
  /** An upper bound of what is still to come, for the size of buffers. */
  readonly atMost: number;
}
