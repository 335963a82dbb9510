/** The schema of sizes. */

import * as v from "valibot";
import { BYTE_SIZE_EXPECTED, parseByteSize } from "../../core/byte_size.ts";
import { mustBe } from "./messages.ts";

/** A size between two others, both included. */
export function byteSizeSchema(least: number, most: number): v.GenericSchema<unknown, number | string> {
  return v.custom<number | string>(
    (value) => {
      const bytes = parseByteSize(value);
      return bytes !== undefined && bytes >= least && bytes <= most;
    },
    mustBe(`${BYTE_SIZE_EXPECTED}, from ${least} to ${most}`),
  );
}
