/** Limit fields of responses, and the response for a request that is over a limit. */

import { HeaderFields } from "../http/header_fields.ts";
import { problemBody, withHead } from "../http/make_response.ts";
import type { AllowedDecision, Decision, HeaderStyle, LimitedDecision, ResolvedPolicy } from "./policy.ts";

/** Maximum number of sets of policies whose list is kept. */
const MAX_LISTS = 256;
/** Largest structured-field Integer (RFC 9651 section 3.3.1). */
const MAX_INTEGER = 999_999_999_999_999;

const PROBLEM_TYPES = "https://iana.org/assignments/http-problem-types";

/** A decision with counts. */
type CountedDecision = AllowedDecision | LimitedDecision;

/**
 * Writes the rate limit fields of responses.
 *
 * Every refusal that ends with time has `Retry-After` (RFC 9110 section 10.2.3), in whole seconds, rounded up and at
 * least 1. The other fields depend on the styles of the policies:
 *
 * - `"x-rate-limit"`: `X-Rate-Limit-Limit`, `-Remaining` and `-Reset` (seconds), on refusals only;
 * - `"draft-11"`: `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers-11, on every response;
 * - `"draft-7"`: `RateLimit: limit=, remaining=, reset=` and `RateLimit-Policy`, on every response;
 * - `"draft-6"`: `RateLimit-Limit`, `-Remaining`, `-Reset` (seconds) and `RateLimit-Policy`, on every response;
 * - `"x-ratelimit"`: `X-RateLimit-Limit`, `-Remaining` and `-Reset` (seconds), on every response.
 *
 * Fields of the upstream response are never loosened: items are added to its lists, and a single value is replaced only
 * if it leaves the client more than ours.
 */
export class LimitHeaders {
  readonly #policies: readonly ResolvedPolicy[];
  /** The names of the policies as structured-field strings. */
  readonly #names: readonly string[];
  /** The `RateLimit-Policy` item of each policy; `null` if it depends on the key. */
  readonly #items: readonly (string | null)[];
  /** Lists already made, by set of policies. */
  readonly #lists: Map<number, string> = new Map();
  /** Whether any style applies to all responses; if not, most responses need no further work. */
  readonly #everyResponse: boolean;

  /** @throws {TypeError} when policies name different drafts, which use the same fields differently */
  constructor(policies: readonly ResolvedPolicy[]) {
    const styles = new Set(policies.flatMap(({ headers }) => headers));
    const drafts = [...styles].filter((style) => style.startsWith("draft-"));
    if (drafts.length > 1) {
      throw new TypeError(
        `Cannot write header fields as ${
          drafts.join(" and as ")
        }: they use the same fields differently, choose one`,
      );
    }
    this.#policies = policies;
    this.#names = policies.map(({ name }) => quote(name));
    this.#items = policies.map(staticItem);
    this.#everyResponse = [...styles].some((style) => style !== "x-rate-limit");
  }

  /** Number of sets of policies whose list is kept. */
  get remembered(): number {
    return this.#lists.size;
  }

  /** Adds the fields for a decision. */
  apply(decision: Decision, headers: HeaderFields): void {
    if (decision.kind === "unlimited") return;
    if (decision.kind === "limited") {
      if (decision.retryAfterMs !== Infinity) headers.set("retry-after", String(retryAfterSeconds(decision)));
      if (decision.reason === "missing-key" || decision.reason === "store-error") return;
    } else if (!this.#everyResponse || decision.applied === 0) {
      return;
    }
    const { headers: styles } = decision.policy;
    for (let i = 0; i < styles.length; i++) this.#applyStyle(styles[i]!, decision, headers);
  }

  #applyStyle(style: HeaderStyle, decision: CountedDecision, headers: HeaderFields): void {
    switch (style) {
      case "x-rate-limit":
        if (decision.kind === "limited") writeTriple("x-rate-limit", decision, headers);
        return;
      case "x-ratelimit":
        writeTriple("x-ratelimit", decision, headers);
        return;
      case "draft-6":
        // The field has another meaning in later drafts: keep the one of an upstream response.
        if (writeTriple("ratelimit", decision, headers) && !headers.has("ratelimit")) {
          headers.set("ratelimit-policy", legacyPolicy(decision));
        }
        return;
      case "draft-7":
        writeDraft7(decision, headers);
        return;
      case "draft-11":
        this.#writeDraft11(decision, headers);
    }
  }

  #writeDraft11(decision: CountedDecision, headers: HeaderFields): void {
    const { policy, remaining } = decision;
    const own = this.#policies.indexOf(policy);
    const theirs = headers.get("ratelimit-policy");
    let list = this.#policyList(decision, own);
    let name = this.#names[own]!;
    if (theirs !== null && this.#clashes(theirs, decision.applied)) {
      // Two items with one name would contradict each other: ours gets another name, and the list has only this item.
      let ours = policy.name;
      while (theirs.includes(quote(ours))) ours += "-proxy";
      const given = name;
      name = quote(ours);
      list = policyItem(decision).replace(given, () => name);
    }
    headers.list.push("ratelimit-policy", list);
    const t = policy.algorithm === "concurrency" ? "" : `;t=${effectiveWindow(decision)}`;
    headers.list.push("ratelimit", `${name};r=${remaining}${t}`);
  }

  /** Whether the upstream's list has an item with the name of a policy that applies. */
  #clashes(theirs: string, applied: number): boolean {
    return this.#names.some((name, i) => (applied & (1 << i)) !== 0 && theirs.includes(name));
  }

  /**
   * The items of all policies that apply and have this style. An item that depends on the key is only in the list of
   * its own decision.
   */
  #policyList(decision: CountedDecision, own: number): string {
    const { applied } = decision;
    const dynamic = this.#items[own] === null;
    const known = dynamic ? undefined : this.#lists.get(applied);
    if (known !== undefined) return known;
    const items: string[] = [];
    for (let i = 0; i < this.#policies.length; i++) {
      if ((applied & (1 << i)) === 0 || !this.#policies[i]!.headers.includes("draft-11")) continue;
      const item = i === own && dynamic ? policyItem(decision) : this.#items[i]!;
      if (item !== null) items.push(item);
    }
    const list = items.join(", ");
    // Clients choose which policies apply by the fields that they send, so the number of kept sets must be bounded.
    if (!dynamic && this.#lists.size < MAX_LISTS) this.#lists.set(applied, list);
    return list;
  }
}

/** Members of the problem document (RFC 9457) of a refusal, as registered by the draft. */
export function limitProblem(decision: LimitedDecision): Readonly<Record<string, unknown>> {
  switch (decision.reason) {
    case "limit":
      return { type: `${PROBLEM_TYPES}#quota-exceeded`, "violated-policies": decision.violated };
    case "banned":
      return { type: `${PROBLEM_TYPES}#abnormal-usage-detected`, "violated-policies": decision.violated };
    case "store-error":
      return {
        type: `${PROBLEM_TYPES}#temporary-reduced-capacity`,
        "violated-policies": decision.violated,
      };
    case "missing-key":
      return {
        detail: "The request has no key for its limit",
        "violated-policies": decision.violated,
      };
  }
}

function retryAfterSeconds({ retryAfterMs }: LimitedDecision): number {
  return seconds(retryAfterMs, 1);
}

function resetSeconds(decision: CountedDecision): number {
  return seconds(decision.resetMs, decision.kind === "limited" ? 1 : 0);
}

/**
 * The `t` of the draft: within that many seconds the client can use no more than the remainder.
 *
 * For fixed windows it is the time to the end of the window. If the limit refills gradually, it is the time in which
 * the remainder refills, so that a client that spreads its requests over it keeps exactly to the rate.
 */
function effectiveWindow(decision: CountedDecision): number {
  const { policy, remaining, limit, windowMs, resetMs } = decision;
  if (decision.kind === "limited") {
    return decision.retryAfterMs === Infinity ? resetSeconds(decision) : retryAfterSeconds(decision);
  }
  let ms = resetMs;
  if (policy.algorithm !== "fixed-window") {
    ms = remaining > 0 ? remaining * windowMs / limit : decision.retryAfterMs;
  }
  return seconds(ms, 1);
}

function seconds(ms: number, least: number): number {
  return Math.min(Math.max(least, Math.ceil(ms / 1000)), MAX_INTEGER);
}

/** Structured-field String (RFC 9651 section 3.3.3); names are printable ASCII. */
function quote(name: string): string {
  return `"${name.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}

function itemText(policy: ResolvedPolicy, limit: number, windowMs: number): string {
  const quota = `${quote(policy.name)};q=${limit}`;
  if (policy.algorithm === "concurrency") return `${quota};qu="concurrent-requests"`;
  return `${quota};w=${seconds(windowMs, 1)}`;
}

function policyItem({ policy, limit, windowMs }: CountedDecision): string {
  return itemText(policy, limit, windowMs);
}

function staticItem(policy: ResolvedPolicy): string | null {
  const { limit, burst, windowMs, algorithm } = policy;
  if (typeof limit === "function" || typeof burst === "function") return null;
  if (algorithm !== "token-bucket" || limit === 0) return itemText(policy, limit, windowMs);
  const capacity = burst ?? limit;
  return itemText(policy, capacity, capacity * windowMs / limit);
}

/** Drafts before the eighth do not name policies: quota and window only. */
function legacyPolicy({ limit, windowMs }: CountedDecision): string {
  return windowMs === 0 ? String(limit) : `${limit};w=${seconds(windowMs, 1)}`;
}

/** Sets the three fields unless those of the upstream leave the client no more; returns whether it did. */
function writeTriple(prefix: string, decision: CountedDecision, headers: HeaderFields): boolean {
  const theirs = headers.get(`${prefix}-remaining`);
  if (theirs !== null && Number(theirs) <= decision.remaining) return false;
  headers.set(`${prefix}-limit`, String(decision.limit));
  headers.set(`${prefix}-remaining`, String(decision.remaining));
  headers.set(`${prefix}-reset`, String(resetSeconds(decision)));
  return true;
}

function writeDraft7(decision: CountedDecision, headers: HeaderFields): void {
  const theirs = headers.get("ratelimit");
  if (theirs !== null) {
    const at = theirs.indexOf("remaining=");
    // A field of another draft, or one that leaves the client no more.
    if (at < 0 || Number.parseInt(theirs.slice(at + 10)) <= decision.remaining) return;
  }
  const { limit, remaining } = decision;
  headers.set(
    "ratelimit",
    `limit=${limit}, remaining=${remaining}, reset=${resetSeconds(decision)}`,
  );
  headers.set("ratelimit-policy", legacyPolicy(decision));
}

// Responses to refused clients.

/** The status of a refusal: if the store fails, the client has not sent too many requests. */
export function refusalStatus({ reason }: LimitedDecision): 429 | 503 {
  return reason === "store-error" ? 503 : 429;
}

/** The problem document (RFC 9457) of a refusal. */
export function refusalBody(decision: LimitedDecision): Uint8Array<ArrayBuffer> {
  return problemBody(refusalStatus(decision), limitProblem(decision));
}

/** The fields of a refusal. */
export function refusalFields(decision: LimitedDecision, headers: LimitHeaders): HeaderFields {
  const fields = new HeaderFields();
  // A cached refusal would be sent to all clients (RFC 6585 section 4).
  fields.list.push("content-type", "application/problem+json", "cache-control", "no-store");
  headers.apply(decision, fields);
  return fields;
}

/**
 * Completes a refusal made by the configuration: adds missing fields and keeps existing ones.
 *
 * @param own its body must be unread
 */
export function completeRefusal(own: Response, decision: LimitedDecision, headers: LimitHeaders): Response {
  const fields = new HeaderFields(own.headers);
  if (!fields.has("cache-control")) fields.set("cache-control", "no-store");
  const retryAfter = fields.get("retry-after");
  headers.apply(decision, fields);
  if (retryAfter !== null) fields.set("retry-after", retryAfter);
  return withHead(own, { status: own.status, headers: fields });
}

// Cache of problem documents of refusals.

/**
 * Caches the documents of refusals by the limit of one policy; they depend only on its name.
 *
 * Making one costs a fifth of a whole refused request, and refused clients may send very many requests.
 */
export class RefusalBodies {
  readonly #byPolicy = new Map<string, Uint8Array<ArrayBuffer>>();

  /** The same as {@linkcode refusalBody}. Callers must not write to the result. */
  get(decision: LimitedDecision): Uint8Array<ArrayBuffer> {
    const { reason, violated } = decision;
    if (reason !== "limit" || violated.length !== 1) return refusalBody(decision);
    const name = violated[0]!;
    let body = this.#byPolicy.get(name);
    if (body === undefined) {
      body = refusalBody(decision);
      this.#byPolicy.set(name, body);
    }
    return body;
  }
}
