/** The schema of TLS towards servers. */

import * as v from "valibot";
import type { UpstreamTlsOptions } from "../../filter/resolve_peer.ts";
import { mustBe, mustBeSecret } from "./messages.ts";
import { isRecord, optionsObject, pathItem } from "./options_object.ts";

const TLS_EXPECTED = "true, false or an object with TLS options";
const SERVER_NAME =
  /^[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?$|^[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*$/;

/** PEM text of something; the name of a file, which is what many write instead, is refused. */
function pemSchema(label: string, begins: RegExp): v.GenericSchema {
  return v.custom<string>(
    (value) => typeof value === "string" && begins.test(value),
    mustBeSecret(`the PEM text of a ${label}`),
  );
}

const certificateSchema = pemSchema("certificate", /-----BEGIN (?:TRUSTED )?CERTIFICATE-----/);
const keySchema = pemSchema("private key", /-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----/);

const entries = {
  serverName: v.optional(
    v.custom<string>(
      (value) => typeof value === "string" && SERVER_NAME.test(value),
      mustBe("a host name without port"),
    ),
  ),
  caCerts: v.optional(
    v.pipe(
      v.array(certificateSchema, mustBeSecret("an array of PEM texts")),
      v.minLength(1, mustBe("an array of at least one PEM text")),
    ),
  ),
  cert: v.optional(certificateSchema),
  key: v.optional(keySchema),
  verifyHostname: v.optional(v.boolean(mustBe("true or false"))),
} satisfies Record<keyof UpstreamTlsOptions, v.GenericSchema>;

const optionsSchema = v.pipe(
  optionsObject(entries, TLS_EXPECTED),
  v.rawCheck(({ dataset, addIssue }) => {
    const { value } = dataset;
    if (!isRecord(value)) return;
    for (const [present, missing] of [["cert", "key"], ["key", "cert"]] as const) {
      if (value[present] === undefined || value[missing] !== undefined) continue;
      addIssue({ message: `is required beside "${present}"`, path: [pathItem(value, missing)] });
    }
  }),
);

/** `true`, `false` or the options. */
export const tlsSchema: v.GenericSchema = v.lazy((input) =>
  typeof input === "boolean" ? v.boolean() : optionsSchema
);
