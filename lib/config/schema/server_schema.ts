/** The schema of one server. */

import * as v from "valibot";
import type { ServerOptions } from "../server_options.ts";
import { addressSchema } from "./address_schema.ts";
import { mustBe } from "./messages.ts";
import { limitSchema, wholeNumberSchema } from "./number_schema.ts";
import { MAX_WEIGHT } from "../../upstream/server_spec.ts";
import { isRecord, optionsObject } from "./options_object.ts";
import { tlsSchema } from "./tls_schema.ts";

const entries = {
  address: addressSchema,
  weight: v.optional(wholeNumberSchema(0, MAX_WEIGHT)),
  tls: v.optional(tlsSchema),
  backup: v.optional(v.boolean(mustBe("true or false"))),
  tags: v.optional(
    v.custom(
      (value) => Array.isArray(value) && value.every((tag) => typeof tag === "string"),
      mustBe("an array of words"),
    ),
  ),
  maxInFlight: v.optional(limitSchema(1)),
} satisfies Record<keyof ServerOptions, v.GenericSchema>;

const SERVER_EXPECTED = '"host:port" or an object with "address"';
const optionsSchema = optionsObject(entries, SERVER_EXPECTED);
const otherwiseSchema = v.custom(() => false, mustBe(SERVER_EXPECTED));

/** An address, or an object with one. */
export const serverSchema: v.GenericSchema = v.lazy((input) => {
  if (typeof input === "string") return addressSchema;
  return isRecord(input) ? optionsSchema : otherwiseSchema;
});
