/** The fields of a client's request, read once. */

import { isUntidy, tidyValue } from "../http/received_fields.ts";

/** What the steps need to know of the fields before they are forwarded. */
export interface RequestFields {
  /** Name, value, name, value, ...; names in lower case. */
  readonly list: string[];
  /** The name of the first field that was dropped; `null` when none was. */
  readonly dropped: string | null;
  /** Whether the list says something else than the runtime does when it goes through its fields. */
  readonly edited: boolean;
  readonly host: string | null;
  readonly connection: string | null;
  readonly upgrade: string | null;
  readonly via: string | null;
  readonly cdnLoop: string | null;
  /** `Content-Length` as sent. */
  readonly contentLength: string | null;
  readonly transferEncoding: string | null;
}

/** What is known before they are read. */
export const NO_FIELDS: RequestFields = Object.freeze({
  list: [],
  dropped: null,
  edited: false,
  host: null,
  connection: null,
  upgrade: null,
  via: null,
  cdnLoop: null,
  contentLength: null,
  transferEncoding: null,
});

/**
 * Reads all fields in one pass; asking the runtime for them one by one costs more.
 *
 * @param passUnderscores whether fields with underscores in their names are kept
 */
export function readFields(headers: Headers, passUnderscores: boolean): RequestFields {
  const list: string[] = [];
  const fields = {
    list,
    dropped: null as string | null,
    edited: false,
    host: null as string | null,
    connection: null as string | null,
    upgrade: null as string | null,
    via: null as string | null,
    cdnLoop: null as string | null,
    contentLength: null as string | null,
    transferEncoding: null as string | null,
  };
  headers.forEach((given, name) => {
    if (!passUnderscores && name.includes("_")) {
      fields.dropped ??= name;
      fields.edited = true;
      return;
    }
    let value = given;
    if (isUntidy(given)) {
      value = tidyValue(name, given);
      if (value !== given) fields.edited = true;
    }
    list.push(name, value);
    switch (name) {
      case "host":
        fields.host = value;
        break;
      case "connection":
        fields.connection = value;
        break;
      case "upgrade":
        fields.upgrade = value;
        break;
      case "via":
        fields.via = value;
        break;
      case "cdn-loop":
        fields.cdnLoop = value;
        break;
      case "content-length":
        fields.contentLength = value;
        break;
      case "transfer-encoding":
        fields.transferEncoding = value;
        break;
    }
  });
  return fields;
}

/** Whether the request declares that content comes with it. */
export function declaresContent({ contentLength, transferEncoding }: RequestFields): boolean {
  return (contentLength !== null && contentLength !== "0") || transferEncoding !== null;
}
