/** The schema of limits. */

import * as v from "valibot";
import { MAX_POLICIES } from "../../limiter/limiter.ts";
import { DEFAULT_HEADERS, DEFAULT_MAX_KEYS } from "../../limiter/policy.ts";
import { findPolicyProblems, POLICY_EXPECTED, POLICY_OPTIONS } from "../../limiter/policy_problems.ts";
import { MAX_KEYS } from "../../limiter/table_layout.ts";
import { isRecord, mustBe, optionsObject, pathItem } from "./schemas.ts";

/** One policy; its options are the limiter's own affair. */
const policySchema: v.GenericSchema = v.pipe(
  optionsObject(
    Object.fromEntries(POLICY_OPTIONS.map((option) => [option, v.optional(v.unknown())])),
    POLICY_EXPECTED,
  ),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!isRecord(dataset.value)) return;
    for (const { option, rest = [], message } of findPolicyProblems(dataset.value)) {
      const path = [option, ...rest].map((key) => pathItem(dataset.value, key));
      addIssue({ message, path: path as [v.IssuePathItem, ...v.IssuePathItem[]] });
    }
  }),
);

const tiersSchema: v.GenericSchema = v.pipe(
  v.array(policySchema),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!Array.isArray(dataset.value)) return;
    const tiers: unknown[] = dataset.value;
    if (tiers.length === 0 || tiers.length > MAX_POLICIES) {
      addIssue({ message: `must have from 1 to ${MAX_POLICIES} policies, has ${tiers.length}` });
    }
    const keys = tiers.reduce((sum: number, tier) => sum + maxKeysOf(tier), 0);
    if (keys > MAX_KEYS) {
      addIssue({ message: `must have at most ${MAX_KEYS} keys together (maxKeys), has ${keys}` });
    }
    const stores = tiers.map(storeOf);
    stores.forEach((store, i) => {
      if (store === stores[0]) return;
      const path: [v.IssuePathItem, v.IssuePathItem] = [pathItem(tiers, i), pathItem(tiers[i], "store")];
      addIssue({
        message: "must be like that of [0]: all policies of a limiter are decided about in one place",
        path,
      });
    });
    const names = tiers.map(nameOf);
    const drafts = tiers.map(draftOf);
    const drafting = drafts.findIndex((draft) => draft !== undefined);
    tiers.forEach((tier, i) => {
      const at = (option: string): [v.IssuePathItem, v.IssuePathItem] => [
        pathItem(tiers, i),
        pathItem(tier, option),
      ];
      const first = names.indexOf(names[i]);
      if (first !== i) addIssue({ message: `is "${names[i]}", like that of [${first}]`, path: at("name") });
      if (drafts[i] === undefined || drafts[i] === drafts[drafting]) return;
      const message = `names "${drafts[i]}", and [${drafting}] "${
        drafts[drafting]
      }": they use the same fields differently`;
      addIssue({ message, path: at("headers") });
    });
  }),
);

/** The draft that a policy's header fields follow. */
function draftOf(policy: unknown): string | undefined {
  const headers: unknown = isRecord(policy) ? policy.headers ?? DEFAULT_HEADERS : undefined;
  return Array.isArray(headers)
    ? headers.find((style) => typeof style === "string" && style.startsWith("draft-"))
    : undefined;
}

function maxKeysOf(policy: unknown): number {
  const maxKeys = isRecord(policy) ? policy.maxKeys : undefined;
  return typeof maxKeys === "number" && maxKeys > 0 ? maxKeys : DEFAULT_MAX_KEYS;
}

/** The name that a policy has or gets. */
function nameOf(policy: unknown, index: number): unknown {
  if (isRecord(policy) && policy.name !== undefined) return policy.name;
  return index === 0 ? "default" : `default-${index + 1}`;
}

/** Where a policy counts, to be compared. */
function storeOf(policy: unknown): string {
  if (!isRecord(policy) || !isRecord(policy.store)) return "memory";
  // What JSON has no word for is told of by its own check.
  return JSON.stringify(policy.store, (_, value) => typeof value === "bigint" ? String(value) : value);
}

const otherwiseSchema = v.custom(() => false, mustBe(`${POLICY_EXPECTED}, or an array of these`));

/** One policy, or several. */
export const limiterSchema: v.GenericSchema = v.lazy((input) => {
  if (Array.isArray(input)) return tiersSchema;
  return isRecord(input) ? policySchema : otherwiseSchema;
});
