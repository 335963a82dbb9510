/** Certificates that a function of the configuration finds when a client asks for their names. */

import type { SecureContext } from "node:tls";
import { type CertificateLookup, isCertificateName } from "../../config/listen_tls.ts";
import { unexpected } from "../../core/callback.ts";
import type { Clock } from "../../core/clock.ts";
import { type Certificate, checkPair, readCertificate } from "../certificate.ts";

/** What a {@linkcode CertificateFinder} takes. */
interface CertificateFinderOptions {
  readonly lookup: CertificateLookup;
  readonly clock: Clock;
  readonly makeContext: (certificate: Certificate) => SecureContext;
  /** Told why a search failed, at most every ten seconds. */
  readonly onError: (error: unknown) => void;
}

/** What is known of a name. */
interface Found {
  context: SecureContext | null;
  /** Until when it is not looked up again. */
  until: number;
  search: Promise<SecureContext | null> | null;
}

/** How long a certificate is used before it is looked up again; it is used on until that is done. */
const FOUND_MS = 300_000;
/** How long it is believed that a name has none, or that the function fails. */
const MISSING_MS = 10_000;
/** How long the function may take. */
const SEARCH_MS = 10_000;
/** How many names are kept that have a certificate, and how many that have none: clients can ask for any. */
const MAX_NAMES = 1024;
/** How many names are looked up at the same time. */
const MAX_SEARCHES = 64;

/** Remembers what was found, and asks once for a name however many clients wait for it. */
export class CertificateFinder implements Disposable {
  readonly #options: CertificateFinderOptions;
  // Apart from each other, so that names that somebody makes up take no place of one that is in use.
  readonly #found = new Map<string, Found>();
  readonly #missing = new Map<string, Found>();
  readonly #timers = new Set<Disposable>();
  #searches = 0;
  #toldAt = -Infinity;
  #disposed = false;

  constructor(options: CertificateFinderOptions) {
    this.#options = options;
  }

  /** What the name has; `null` for nothing. Never rejects. */
  find(name: string): SecureContext | null | Promise<SecureContext | null> {
    if (!isCertificateName(name)) return null;
    const known = this.#found.get(name) ?? this.#missing.get(name);
    if (known === undefined) {
      if (this.#searches >= MAX_SEARCHES) return null;
      const entry: Found = { context: null, until: 0, search: null };
      keep(this.#missing, name, entry);
      return this.#search(name, entry);
    }
    if (this.#found.has(name)) keep(this.#found, name, known);
    if (known.until > this.#options.clock.now()) return known.context;
    const search = known.search ?? (this.#searches < MAX_SEARCHES ? this.#search(name, known) : null);
    // One that is to be looked up again is good until then.
    return known.context ?? search;
  }

  #search(name: string, entry: Found): Promise<SecureContext | null> {
    this.#searches++;
    entry.search = this.#ask(name).then((context) => {
      entry.context = context;
      entry.until = this.#options.clock.now() + (context === null ? MISSING_MS : FOUND_MS);
    }, (error) => {
      entry.until = this.#options.clock.now() + MISSING_MS;
      this.#failed(error);
    }).then(() => {
      this.#searches--;
      entry.search = null;
      const [table, other] = entry.context === null
        ? [this.#missing, this.#found]
        : [this.#found, this.#missing];
      if (other.get(name) === entry) other.delete(name);
      keep(table, name, entry);
      return entry.context;
    });
    return entry.search;
  }

  async #ask(name: string): Promise<SecureContext | null> {
    const { lookup, clock, makeContext } = this.#options;
    const late = Promise.withResolvers<never>();
    const timer = clock.setTimer(
      () => late.reject(new Error(`${name} was not found within ${SEARCH_MS} ms`)),
      SEARCH_MS,
    );
    this.#timers.add(timer);
    try {
      const found: unknown = await Promise.race([Promise.try(lookup, name), late.promise]);
      if (found === null || found === undefined) return null;
      if (!isPair(found)) throw unexpected("an object with cert and key, or null", typeof found);
      const certificate = readCertificate(found);
      checkPair(certificate);
      return makeContext(certificate);
    } finally {
      this.#timers.delete(timer);
      timer[Symbol.dispose]();
    }
  }

  #failed(error: unknown): void {
    const now = this.#options.clock.now();
    if (this.#disposed || now < this.#toldAt + MISSING_MS) return;
    this.#toldAt = now;
    this.#options.onError(error);
  }

  /** Waits for nothing any more. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    for (const timer of this.#timers) timer[Symbol.dispose]();
  }
}

function isPair(found: unknown): found is Certificate {
  if (typeof found !== "object" || found === null) return false;
  const { cert, key } = found as Partial<Certificate>;
  return typeof cert === "string" && typeof key === "string";
}

/** Puts an entry behind all others, and drops the first one where there are too many. */
function keep(table: Map<string, Found>, name: string, entry: Found): void {
  table.delete(name);
  table.set(name, entry);
  if (table.size > MAX_NAMES) table.delete(table.keys().next().value!);
}
