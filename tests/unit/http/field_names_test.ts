import { assert, assertEquals } from "@std/assert";
import {
  equalsName,
  fieldId,
  fieldIdOf,
  isHopByHopId,
  LOWER,
  nameOfId,
  OTHER_FIELD,
} from "../../../lib/http/field_lines.ts";
import { seededRandom } from "../../../lib/core/random.ts";
import { latin1Bytes } from "../../support/raw_connection.ts";

function idOf(text: string): number {
  const bytes = latin1Bytes(`x${text}x`);
  return fieldIdOf(bytes, 1, 1 + text.length);
}

/** All names of the table. */
function* names(): Generator<[id: number, name: string]> {
  for (let id = 1; nameOfId(id) !== undefined; id++) yield [id, nameOfId(id)];
}

Deno.test("fieldIdOf() finds every name of the table, whatever its case", () => {
  let count = 0;
  for (const [id, name] of names()) {
    const title = name.replace(/\b[a-z]/g, (letter) => letter.toUpperCase());
    for (const written of [name, name.toUpperCase(), title]) assertEquals(idOf(written), id, written);
    assertEquals(fieldId(name), id);
    count++;
  }
  // A number has to fit a byte.
  assert(count > 90 && count < 256, `${count}`);
});

Deno.test("fieldIdOf() takes no other name for one of the table", () => {
  assertEquals([fieldId(""), fieldId("x-other"), idOf("x-other"), idOf("a")], Array(4).fill(OTHER_FIELD));
  const random = seededRandom(4);
  for (const [, name] of names()) {
    for (let i = 0; i < 200; i++) {
      const at = Math.floor(random() * name.length);
      const character = String.fromCharCode(Math.floor(random() * 256));
      const edited = [
        name.slice(0, at) + character + name.slice(at + 1),
        name.slice(0, at) + character + name.slice(at),
        name.slice(0, at) + name.slice(at + 1),
      ];
      for (const text of edited) {
        if (text === "") continue;
        const lower = text.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
        assertEquals(idOf(text), fieldId(lower), JSON.stringify(text));
      }
    }
  }
});

Deno.test("the case of letters is ignored, and that of no other byte", () => {
  for (let byte = 0; byte < 256; byte++) {
    const letter = byte >= 65 && byte <= 90;
    assertEquals(LOWER[byte], letter ? byte + 32 : byte);
  }
  const host = latin1Bytes("host");
  assert(equalsName(host, latin1Bytes("xHoSt"), 1, 4));
  for (const text of ["hos", "hosts", "h\x4fst\0", "(ost", "hos\x14"]) {
    assert(!equalsName(host, latin1Bytes(text), 0, text.length), text);
  }
  // "@" and "`", "[" and "{" differ by the bit that tells the cases of letters apart.
  assert(!equalsName(latin1Bytes("`{"), latin1Bytes("@["), 0, 2));
});

Deno.test("isHopByHopId() knows the fields of one connection", () => {
  const expected = [
    ..."connection keep-alive te trailer upgrade http2-settings proxy-connection transfer-encoding".split(
      " ",
    ),
    ..."proxy-authenticate proxy-authorization".split(" "),
  ];
  assertEquals([...names()].filter(([id]) => isHopByHopId(id)).map(([, name]) => name), expected);
  assert(!isHopByHopId(OTHER_FIELD));
});
