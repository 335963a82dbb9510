/** Field lines as bytes, for tests of their processing. */

import { FieldLines } from "../../lib/http/field_lines.ts";
import { HeaderFields } from "../../lib/http/header_fields.ts";
import { latin1Bytes } from "./raw_connection.ts";

/** An index of lines like `"Name: value"` within other bytes. */
export function rawLines(...texts: readonly string[]): FieldLines {
  const start = "GET / HTTP/1.1\r\n";
  const bytes = latin1Bytes(`${start}${texts.map((text) => `${text}\r\n`).join("")}\r\ncontent`);
  const lines = new FieldLines();
  lines.begin(bytes);
  let at = start.length;
  for (const text of texts) {
    const colon = text.indexOf(":");
    const value = text.slice(colon + 1);
    const blanks = value.length - value.trimStart().length;
    lines.add(at, at + colon, at + colon + 1 + blanks, at + colon + 1 + blanks + value.trim().length);
    at += text.length + 2;
  }
  lines.end = at;
  return lines;
}

/** Fields over such lines. */
export function rawFields(...texts: readonly string[]): HeaderFields {
  const fields = new HeaderFields();
  fields.begin(rawLines(...texts));
  return fields;
}
