/** The schema of the places to listen at. */

import * as v from "valibot";
import type { ListenOptions } from "../proxy_config.ts";
import { parseListen } from "../resolve_listen.ts";
import { mustBe } from "./messages.ts";
import { wholeNumberSchema } from "./number_schema.ts";
import { isRecord, optionsObject, pathItem } from "./options_object.ts";

const LISTEN_EXPECTED = '"host:port" or a port number';

const entries = {
  hostname: v.optional(
    v.custom<string>(
      (value) => typeof value === "string" && /^[^\s/@[\]#?]+$/.test(value),
      mustBe("an address or a host name"),
    ),
  ),
  port: v.optional(wholeNumberSchema(0, 65535)),
} satisfies Record<keyof ListenOptions, v.GenericSchema>;

const optionsSchema = optionsObject(entries, LISTEN_EXPECTED);
const portNumberSchema = v.custom<number>(
  (value) => Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 65535,
  mustBe("a port number from 0 to 65535"),
);
const textSchema = v.custom<string>(
  (value) => typeof value === "string" && parseListen(value) !== undefined,
  mustBe(LISTEN_EXPECTED),
);

const placeSchema: v.GenericSchema = v.lazy((input) => {
  if (typeof input === "number") return portNumberSchema;
  return isRecord(input) ? optionsSchema : textSchema;
});

const placesSchema = v.pipe(
  v.array(placeSchema),
  v.minLength(1, mustBe("at least one place to listen at")),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!Array.isArray(dataset.value)) return;
    const seen = new Map<string, number>();
    dataset.value.forEach((place, index) => {
      const resolved = parseListen(place);
      if (resolved === undefined || resolved.port === 0) return;
      const id = `${resolved.hostname} ${resolved.port}`;
      const first = seen.get(id);
      if (first === undefined) return void seen.set(id, index);
      addIssue({
        message: `is the same address as [${first}]`,
        path: [pathItem(dataset.value, index)],
      });
    });
  }),
);

/** A place to listen at, or an array of them. */
export const listenSchema: v.GenericSchema = v.lazy((input) =>
  Array.isArray(input) ? placesSchema : placeSchema
);
