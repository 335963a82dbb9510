/** What the HTTP/2 connections of a listener share. */

import { HeaderFields } from "../../http/header_fields.ts";
import { HeadShelf } from "../../http2/head_shelf.ts";
import type { ConnectionContext } from "../connection_context.ts";

/** The fields of a request; lent to one request after the other. */
export interface RequestFieldsPair {
  readonly headers: HeaderFields;
  /** The same fields, as they go to a server. */
  readonly outgoing: HeaderFields;
}

/** Pairs that are kept for requests to come. */
const MAX_KEPT = 256;

/** The listener, and what its requests are read into. */
export class Http2Context {
  readonly listener: ConnectionContext;
  readonly heads: HeadShelf = new HeadShelf();
  readonly #pairs: RequestFieldsPair[] = [];

  constructor(listener: ConnectionContext) {
    this.listener = listener;
  }

  takeFields(): RequestFieldsPair {
    return this.#pairs.pop() ?? { headers: new HeaderFields(), outgoing: new HeaderFields() };
  }

  giveFields(pair: RequestFieldsPair): void {
    if (this.#pairs.length < MAX_KEPT) this.#pairs.push(pair);
  }
}
