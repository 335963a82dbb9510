/** A request that has ended, as the access log sees it. */

import type { ProxyError } from "../core/errors.ts";
import { fieldId } from "../http/field_lines.ts";
import { wouldRefuse } from "../limiter/decision.ts";
import type { AccessAttempt, AccessDecision, AccessEntry } from "../observe/observer.ts";
import { ABSENT, type SentField, UNKNOWN, WRITTEN } from "../observe/access_line.ts";
import { type LineBytes, type PlainBytes, plainBytes } from "../observe/line_bytes.ts";
import { REDACTED, redactTarget } from "../observe/access_log_options.ts";
import type { Exchange, ExchangeEntry } from "./exchange.ts";

const NONE: readonly string[] = Object.freeze([]);
const NO_FIELDS: Readonly<Record<string, string>> = Object.freeze({});

const REFERER = fieldId("referer");
const USER_AGENT = fieldId("user-agent");
const PLAIN = plainBytes();
/** Bytes of a target or URL without secrets: no query and no password. */
const WITHOUT_SECRETS = plainBytes("?@");

/**
 * The entry of the request that is being settled, read from its exchange: no object is made for a request, and no
 * string that its log line does not contain.
 *
 * It is reused for the next request; to keep an entry, use {@linkcode SettledEntry.copy}.
 */
export class SettledEntry implements ExchangeEntry {
  #exchange: Exchange | null = null;
  #failure: ProxyError | null = null;
  #brokeOff: ProxyError | null = null;

  /** Shows a request. */
  take(exchange: Exchange, failure: ProxyError | null, brokeOff: ProxyError | null): void {
    this.#exchange = exchange;
    this.#failure = failure;
    this.#brokeOff = brokeOff;
  }

  /** Releases the request. */
  letGo(): void {
    this.#exchange = this.#failure = this.#brokeOff = null;
  }

  get requestId(): string {
    return this.#exchange!.requestId;
  }

  get traceId(): string | null {
    const { trace } = this.#exchange!;
    return trace === null ? null : trace.traceId;
  }

  get clientIp(): string {
    return this.#exchange!.clientIp;
  }

  get peerIp(): string {
    return this.#exchange!.stream.peerIp;
  }

  get method(): string {
    return this.#exchange!.method;
  }

  get host(): string {
    return this.#exchange!.host;
  }

  get target(): string {
    return shownTarget(this.#exchange!);
  }

  get protocol(): string {
    return this.#exchange!.stream.protocol;
  }

  get tlsVersion(): string | null {
    return this.#exchange!.stream.tlsVersion;
  }

  get referer(): string | null {
    const { runtime: { secrets } } = this.#exchange!;
    const referer = this.#exchange!.field("referer");
    return referer === null || secrets === null ? referer : redactTarget(referer, secrets);
  }

  get userAgent(): string | null {
    return this.#exchange!.field("user-agent");
  }

  get headers(): Readonly<Record<string, string>> {
    const { runtime: { accessLog, secrets } } = this.#exchange!;
    if (accessLog === null || accessLog.headers.length === 0) return NO_FIELDS;
    const shown: Record<string, string> = {};
    for (const name of accessLog.headers) {
      const value = this.#exchange!.field(name);
      if (value !== null) shown[name] = secrets !== null && secrets.has(name) ? REDACTED : value;
    }
    return shown;
  }

  get status(): number {
    return this.#failure?.status === 499 ? 499 : this.#exchange!.status;
  }

  get route(): string | null {
    return this.#exchange!.route;
  }

  get server(): string | null {
    const { server } = this.#exchange!;
    return server === null ? null : server.address;
  }

  get pool(): string | null {
    const { server } = this.#exchange!;
    return server === null ? null : server.pool;
  }

  get durationMs(): number {
    const { endAt, startedAt } = this.#exchange!;
    return endAt - startedAt;
  }

  get queueMs(): number {
    return this.#exchange!.queueMs;
  }

  get connectMs(): number | null {
    return this.#exchange!.connectMs;
  }

  get firstByteMs(): number | null {
    const { upstreamHeadAt, startedAt } = this.#exchange!;
    return upstreamHeadAt === 0 ? null : upstreamHeadAt - startedAt;
  }

  get bytesSent(): number {
    return this.#exchange!.bytesSent;
  }

  get bytesReceived(): number {
    return this.#exchange!.stream.bytesReceived;
  }

  get attempts(): number {
    return this.#exchange!.attempts.length;
  }

  get tries(): readonly AccessAttempt[] {
    return this.#exchange!.attempts;
  }

  get limits(): readonly AccessDecision[] {
    return this.#exchange!.limits;
  }

  get limitedBy(): string | null {
    const { decision } = this.#exchange!;
    return decision !== null && decision.kind === "limited" ? decision.policy.name : null;
  }

  get wouldLimit(): readonly string[] {
    const { decision } = this.#exchange!;
    return decision === null ? NONE : wouldRefuse(decision);
  }

  get error(): string | null {
    return this.#failure === null ? null : this.#failure.code;
  }

  get end(): string {
    return this.#brokeOff === null ? "complete" : this.#brokeOff.code;
  }

  /** A copy that can be kept. */
  copy(): AccessEntry {
    return {
      requestId: this.requestId,
      traceId: this.traceId,
      clientIp: this.clientIp,
      peerIp: this.peerIp,
      method: this.method,
      host: this.host,
      target: this.target,
      protocol: this.protocol,
      tlsVersion: this.tlsVersion,
      referer: this.referer,
      userAgent: this.userAgent,
      headers: this.headers,
      status: this.status,
      route: this.route,
      server: this.server,
      pool: this.pool,
      durationMs: this.durationMs,
      queueMs: this.queueMs,
      connectMs: this.connectMs,
      firstByteMs: this.firstByteMs,
      bytesSent: this.bytesSent,
      bytesReceived: this.bytesReceived,
      attempts: this.attempts,
      tries: this.tries,
      limits: this.limits,
      limitedBy: this.limitedBy,
      wouldLimit: this.wouldLimit,
      error: this.error,
      end: this.end,
    };
  }

  writeTarget(out: LineBytes): boolean {
    const { stream: { targetBytes }, runtime: { secrets } } = this.#exchange!;
    if (targetBytes === null) return false;
    const { lines: { bytes }, targetStart, targetEnd } = targetBytes;
    return out.plainBytes(bytes, targetStart, targetEnd, secrets === null ? PLAIN : WITHOUT_SECRETS);
  }

  writeReferer(out: LineBytes): SentField {
    return this.#writeField(out, REFERER, this.#exchange!.runtime.secrets === null ? PLAIN : WITHOUT_SECRETS);
  }

  writeUserAgent(out: LineBytes): SentField {
    return this.#writeField(out, USER_AGENT, PLAIN);
  }

  #writeField(out: LineBytes, id: number, allowed: PlainBytes): SentField {
    const { lines, list } = this.#exchange!.stream.headers;
    if (lines === null || list.length > 0) return UNKNOWN;
    let found = -1;
    for (let line = 0; line < lines.count; line++) {
      if (lines.id(line) !== id) continue;
      if (found >= 0) return UNKNOWN;
      found = line;
    }
    if (found < 0) return ABSENT;
    const from = lines.valueStart(found);
    return out.plainBytes(lines.bytes, from, lines.valueEnd(found), allowed) ? WRITTEN : UNKNOWN;
  }
}

/** The target without secrets. */
export function shownTarget({ target, runtime: { secrets } }: Exchange): string {
  return secrets === null || !target.includes("?") ? target : redactTarget(target, secrets);
}
