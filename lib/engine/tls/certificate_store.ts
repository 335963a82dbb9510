/** The certificates of a listener, by server name (SNI). */

import { createSecureContext, type SecureContext } from "node:tls";
import {
  type CertificateLookup,
  isCertificateName,
  type ResolvedCertificate,
  type ResolvedClientCertificates,
  type ResolvedListenTls,
} from "../../config/listen_tls.ts";
import { unexpected } from "../../core/callback.ts";
import type { Clock } from "../../core/clock.ts";
import {
  type Certificate,
  certificateFrom,
  CertificateWatch,
  checkPair,
  dnsNames,
  isInFiles,
  isPath,
  readCertificate,
  textsOf,
  tryCertificate,
} from "../certificate.ts";
import { ClientCertificates, readAuthorities } from "./client_certificates.ts";

/** Options of a {@linkcode CertificateStore}. */
interface CertificateStoreOptions {
  readonly tls: ResolvedListenTls;
  readonly clock: Clock;
  /** The files of a certificate have changed: why the new one is not used (`null` when it is), and its names. */
  readonly onChange: (problem: string | null, names: readonly string[]) => void;
  /** A function of the configuration, with this name, has failed. */
  readonly onCallbackError: (name: string, error: unknown) => void;
}

/** A certificate in use. */
interface Entry {
  readonly source: ResolvedCertificate;
  certificate: Certificate;
  names: readonly string[];
  context: SecureContext;
}

/** Continues a handshake with this context; `undefined` means that of the listener, and an error ends the connection. */
type SniDone = (error: Error | null, context?: SecureContext) => void;

/** How many files are checked for changes per second. */
const CHECKS_PER_SECOND = 32;

/** Reads certificates, selects one for each handshake, and applies changed files. */
export class CertificateStore implements Disposable {
  readonly #options: CertificateStoreOptions;
  readonly #entries: readonly Entry[];
  readonly #watches: readonly CertificateWatch[];
  #finder: CertificateFinder | null;
  #clients: ClientCertificates | null;
  /** By complete name; and, for wildcard names, by the part after the star, including the dot. */
  #byName = new Map<string, Entry>();
  #bySuffix = new Map<string, Entry>();
  /** Selects a certificate by the server name of the client (SNI); `null` when there is only one. */
  readonly choose: ((name: string | null, done: SniDone) => void) | null;

  /** @throws {Error} when a certificate cannot be used */
  constructor(options: CertificateStoreOptions) {
    const { tls: { certificates, lookup, refusesUnknown, clientCertificates } } = options;
    this.#options = options;
    this.#clients = clientCertificates === null
      ? null
      : this.#readClients(clientCertificates, readAuthorities(clientCertificates));
    this.#entries = certificates.map((source) => this.#entry(source));
    this.#finder = this.#makeFinder();
    this.#index();
    this.choose = certificates.length === 1 && lookup === null && !refusesUnknown
      ? null
      : (name, done) => this.#choose(name ?? "", done);
    const everyMs = 1000 * Math.ceil(certificates.length / CHECKS_PER_SECOND);
    this.#watches = [
      ...this.#entries.filter(({ source }) => isInFiles(source)).map((entry) => this.#watch(entry, everyMs)),
      ...(clientCertificates?.ca.some(isPath) ? [this.#watchAuthorities(clientCertificates)] : []),
    ];
  }

  /** How client certificates are verified; `null` when they are not requested. */
  get clients(): ClientCertificates | null {
    return this.#clients;
  }

  #readClients(options: ResolvedClientCertificates, ca: readonly string[]): ClientCertificates {
    const { clock, onCallbackError } = this.#options;
    const onVerifyError = (error: unknown): void => onCallbackError("tls.clientCertificates.verify", error);
    return new ClientCertificates({ options, clock, onVerifyError }, ca);
  }

  #makeFinder(): CertificateFinder | null {
    const { tls: { lookup }, clock, onCallbackError } = this.#options;
    return lookup === null ? null : new CertificateFinder({
      lookup,
      clock,
      makeContext: (certificate) => this.#context(certificate),
      onError: (error) => onCallbackError("tls.certificates", error),
    });
  }

  /** The context for clients without a matching name; `null` when there is none. */
  get fallback(): SecureContext | null {
    return this.#entries[0]?.context ?? null;
  }

  #entry(source: ResolvedCertificate): Entry {
    const { path, names } = source;
    try {
      const certificate = readCertificate(source);
      const found = tryCertificate(certificate);
      return { source, certificate, names: names ?? dnsNames(found), context: this.#context(certificate) };
    } catch (error) {
      if (path === "") throw error;
      throw new Error(`tls.${path}: ${(error as Error).message}`, { cause: error });
    }
  }

  #context(certificate: Certificate): SecureContext {
    return createSecureContext({
      cert: certificate.cert,
      key: certificate.key,
      minVersion: `TLSv${this.#options.tls.minVersion}`,
      // Without any, the authorities of the system would be used.
      ...(this.#clients === null ? {} : { ca: [...this.#clients.ca] }),
    });
  }

  #index(): void {
    this.#byName = new Map();
    this.#bySuffix = new Map();
    for (const entry of this.#entries) {
      for (const name of entry.names) {
        const [table, key] = name.startsWith("*.")
          ? [this.#bySuffix, name.slice(1)] as const
          : [this.#byName, name] as const;
        // If two certificates have a name, the first one in the configuration is used.
        if (!table.has(key)) table.set(key, entry);
      }
    }
  }

  #watch(entry: Entry, everyMs: number): CertificateWatch {
    const { clock, onChange } = this.#options;
    // With only one certificate, its names need not be reported.
    const reportedNames = (): readonly string[] => this.#entries.length === 1 ? [] : entry.names;
    return new CertificateWatch({
      read: () => textsOf(readCertificate(entry.source)),
      current: textsOf(entry.certificate),
      clock,
      everyMs,
      onChange: (texts) => {
        const changed = certificateFrom(texts);
        const found = tryCertificate(changed);
        entry.context = this.#context(changed);
        entry.certificate = changed;
        entry.names = entry.source.names ?? dnsNames(found);
        this.#index();
        onChange(null, reportedNames());
      },
      onProblem: (problem) => onChange(problem, reportedNames()),
    });
  }

  #watchAuthorities(options: ResolvedClientCertificates): CertificateWatch {
    const { clock, onChange } = this.#options;
    const names = ["clientCertificates.ca"];
    return new CertificateWatch({
      read: () => readAuthorities(options),
      current: this.#clients!.ca,
      clock,
      onChange: (texts) => {
        this.#clients = this.#readClients(options, texts);
        for (const entry of this.#entries) entry.context = this.#context(entry.certificate);
        // Contexts that it has made trust the previous authorities.
        this.#finder?.[Symbol.dispose]();
        this.#finder = this.#makeFinder();
        onChange(null, names);
      },
      onProblem: (problem) => onChange(problem, names),
    });
  }

  #choose(asked: string, done: SniDone): void {
    const name = asked.toLowerCase();
    const entry = this.#byName.get(name) ?? this.#bySuffix.get(name.slice(Math.max(0, name.indexOf("."))));
    if (entry !== undefined) return done(null, entry.context);
    if (name === "" || this.#finder === null) return this.#unknown(asked, done);
    const found = this.#finder.find(name);
    if (!(found instanceof Promise)) return this.#known(asked, found, done);
    found.then((context) => this.#known(asked, context, done));
  }

  #known(asked: string, context: SecureContext | null, done: SniDone): void {
    if (context === null) this.#unknown(asked, done);
    else done(null, context);
  }

  #unknown(asked: string, done: SniDone): void {
    const { fallback } = this;
    if (!this.#options.tls.refusesUnknown && fallback !== null) return done(null, fallback);
    done(new Error(`No certificate for ${asked === "" ? "clients that name no server" : asked}`));
  }

  /** Stops checking the files. */
  [Symbol.dispose](): void {
    for (const watch of this.#watches) watch[Symbol.dispose]();
    this.#finder?.[Symbol.dispose]();
  }
}

// Certificates that a function of the configuration finds for requested names.

/** Options of a {@linkcode CertificateFinder}. */
interface CertificateFinderOptions {
  readonly lookup: CertificateLookup;
  readonly clock: Clock;
  readonly makeContext: (certificate: Certificate) => SecureContext;
  /** Called with the error of a search, at most every ten seconds. */
  readonly onError: (error: unknown) => void;
}

/** The cached result for a name. */
interface Found {
  context: SecureContext | null;
  /** Until when the name is not searched again. */
  until: number;
  search: Promise<SecureContext | null> | null;
}

/** How long a certificate is used before it is searched again; it is used until that search has ended. */
const FOUND_MS = 300_000;
/** How long a name without a certificate, or with a failed search, is not searched again. */
const MISSING_MS = 10_000;
/** How long the function may take. */
const SEARCH_MS = 10_000;
/** Most cached names with a certificate, and most without one: clients can request any name. */
const MAX_NAMES = 1024;
/** Most concurrent searches. */
const MAX_SEARCHES = 64;

/** Caches results, and runs one search for a name however many clients wait for it. */
export class CertificateFinder implements Disposable {
  readonly #options: CertificateFinderOptions;
  // Two tables, so that invented names cannot evict names that are in use.
  readonly #found = new Map<string, Found>();
  readonly #missing = new Map<string, Found>();
  readonly #timers = new Set<Disposable>();
  #searches = 0;
  #lastReportedAt = -Infinity;
  #disposed = false;

  constructor(options: CertificateFinderOptions) {
    this.#options = options;
  }

  /** The context for a name; `null` without a certificate. Never rejects. */
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
    // An expired certificate stays in use while it is searched again.
    return known.context ?? search;
  }

  #search(name: string, entry: Found): Promise<SecureContext | null> {
    this.#searches++;
    entry.search = this.#runLookup(name).then((context) => {
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

  async #runLookup(name: string): Promise<SecureContext | null> {
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
    if (this.#disposed || now < this.#lastReportedAt + MISSING_MS) return;
    this.#lastReportedAt = now;
    this.#options.onError(error);
  }

  /** Stops the timers of running searches. */
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

/** Moves an entry to the end, and drops the first one when there are too many. */
function keep(table: Map<string, Found>, name: string, entry: Found): void {
  table.delete(name);
  table.set(name, entry);
  if (table.size > MAX_NAMES) table.delete(table.keys().next().value!);
}
