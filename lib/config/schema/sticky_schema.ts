/** The schema of sticky sessions. */

import * as v from "valibot";
import { findStickyProblems, type StickyOptions } from "../../balancer/sticky_sessions.ts";
import { isRecord, mustBe, oneOf, optionsObject, pathItem, positiveDurationSchema } from "./schemas.ts";

const SAME_SITE = ["Strict", "Lax", "None"] as const;

const textSchema = v.string(mustBe("a text"));
const flagSchema = v.boolean(mustBe("true or false"));

const entries = {
  cookie: v.optional(textSchema),
  // Without what was received, which is a secret all the same.
  secret: v.string("must be a text"),
  maxAge: v.optional(positiveDurationSchema),
  path: v.optional(textSchema),
  domain: v.optional(textSchema),
  sameSite: v.optional(v.picklist(SAME_SITE, mustBe(oneOf(SAME_SITE)))),
  secure: v.optional(flagSchema),
  keepWhileDraining: v.optional(flagSchema),
} satisfies Record<keyof StickyOptions, v.GenericSchema>;

/** How clients are tied to servers. */
export const stickySchema: v.GenericSchema = v.pipe(
  optionsObject(entries, 'an object with "secret"'),
  v.rawCheck(({ dataset, addIssue }) => {
    if (dataset.issues !== undefined || !isRecord(dataset.value)) return;
    for (const { option, message } of findStickyProblems(dataset.value as unknown as StickyOptions)) {
      addIssue({ message, path: [pathItem(dataset.value, option)] });
    }
  }),
);
