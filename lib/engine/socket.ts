/** What an engine needs of a connection; a `Deno.Conn` is one. */

import type { ClientCertificate } from "../http/client_certificate.ts";
import type { Bytes } from "../http/message.ts";

/** A connection of a client. */
export interface Socket {
  /** Version of TLS; `null` where it is not known. @default {none} */
  readonly tlsVersion?: string | null;
  /** The certificate that the client has shown; none where it was not asked for one. */
  readonly certificate?: ClientCertificate | null;
  /** Reads into the buffer; `null` when the client sends no more. */
  read(buffer: Bytes): Promise<number | null>;
  /** Writes some of the bytes, and tells how many. */
  write(bytes: Bytes): Promise<number>;
  /** Tells the client that no more is sent. */
  closeWrite(): Promise<void>;
  /** Closes it. */
  close(): void;
}
