/** Knows until when the certificates of listeners are good, and warns before they end. */

import { formatListen, type ResolvedListen } from "../config/listen_options.ts";
import type { ResolvedCertificate } from "../config/listen_tls.ts";
import { certificatesOf, dnsNames, readCertificate } from "../engine/certificate.ts";
import type { ProxyParts } from "./serve_options.ts";

/** The end of a certificate. */
export interface CertificateEnd {
  /** Where the listener is reached, as configured. */
  readonly listener: string;
  /** Where the certificate stands in the options of TLS: `cert`, or `certificates[0]`. */
  readonly certificate: string;
  /** Names that it is shown for. */
  readonly names: readonly string[];
  /** In milliseconds since 1970. */
  readonly notAfter: number;
}

/** A place to listen at, as far as its certificates matter. */
type CertifiedPlace = Pick<ResolvedListen, "hostname" | "port" | "unix"> & {
  readonly tls?: { readonly certificates: readonly ResolvedCertificate[] };
};

/** What was warned of last. */
interface Warning {
  readonly notAfter: number;
  readonly withinDays: number;
}

const DAY_MS = 86_400_000;
/** How many days before the end there is a warning; behind it there is one each day. */
const WARN_DAYS = [0, 1, 7, 30];
/** How long what was read is good for metrics. */
const FRESH_MS = 10_000;

/** Reads certificates once a day, and when somebody asks. Those that a function finds are not among them. */
export class CertificateExpiry implements Disposable {
  readonly #parts: Pick<ProxyParts, "clock" | "observer">;
  #listen: readonly CertifiedPlace[] = [];
  readonly #warnings = new Map<string, Warning>();
  #ends: ReadonlyMap<string, CertificateEnd> = new Map();
  #readAt = -Infinity;
  #timer: Disposable | null = null;

  constructor(parts: Pick<ProxyParts, "clock" | "observer">) {
    this.#parts = parts;
  }

  /** Those of the configuration that runs. */
  get ends(): CertificateEnd[] {
    if (this.#parts.clock.now() - this.#readAt >= FRESH_MS) this.#read();
    return [...this.#ends.values()];
  }

  /**
   * Warns of those that end soon, now and once a day from now on.
   *
   * @param listen the places of the configuration that runs
   */
  check(listen: readonly CertifiedPlace[] = this.#listen): void {
    this.#listen = listen;
    this.#timer?.[Symbol.dispose]();
    this.#timer = this.#parts.clock.setTimer(() => this.check(), DAY_MS);
    this.#read();
    for (const [key, end] of this.#ends) this.#warn(key, end);
  }

  #warn(key: string, { listener, names, notAfter }: CertificateEnd): void {
    const leftMs = notAfter - this.#parts.clock.wallTime();
    const withinDays = WARN_DAYS.find((days) => leftMs <= days * DAY_MS);
    const last = this.#warnings.get(key);
    if (withinDays === undefined) return void this.#warnings.delete(key);
    if (withinDays > 0 && last?.notAfter === notAfter && last.withinDays <= withinDays) return;
    this.#warnings.set(key, { notAfter, withinDays });
    this.#parts.observer.event({
      kind: "certificate_expiry",
      address: listener,
      names,
      notAfter: new Date(notAfter).toISOString(),
      daysLeft: Math.max(0, Math.floor(leftMs / DAY_MS)),
      ended: leftMs <= 0,
    });
  }

  #read(): void {
    const ends = new Map<string, CertificateEnd>();
    for (const place of this.#listen) {
      for (const source of place.tls?.certificates ?? []) {
        const certificate = source.path === "" ? "cert" : source.path;
        const listener = formatListen(place);
        const key = `${listener} ${certificate}`;
        // Of files that cannot be read, or not yet, the one before is in use.
        const end = endOf(source, { listener, certificate }) ?? this.#ends.get(key);
        if (end !== undefined) ends.set(key, end);
      }
    }
    this.#ends = ends;
    this.#readAt = this.#parts.clock.now();
  }

  /** Looks no more. */
  [Symbol.dispose](): void {
    this.#timer?.[Symbol.dispose]();
  }
}

function endOf(
  source: ResolvedCertificate,
  place: Pick<CertificateEnd, "listener" | "certificate">,
): CertificateEnd | undefined {
  try {
    const found = certificatesOf(readCertificate(source).cert)[0]!;
    return { ...place, names: source.names ?? dnsNames(found), notAfter: found.validToDate.getTime() };
  } catch {
    return undefined;
  }
}
