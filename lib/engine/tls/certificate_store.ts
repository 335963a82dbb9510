/** The certificates of a listener by the names that clients ask for. */

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

/** What a {@linkcode CertificateStore} takes. */
interface CertificateStoreOptions {
  readonly tls: ResolvedListenTls;
  readonly clock: Clock;
  /** The files of a certificate have changed, why it is not used (`null` when it is), and the names that it is for. */
  readonly onChange: (problem: string | null, names: readonly string[]) => void;
  /** A function of the configuration failed, of this name. */
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

/** How many files are read a second to find out whether they have changed. */
const LOOKS_A_SECOND = 32;

/** Reads certificates, chooses one for each handshake, and takes over files that change. */
export class CertificateStore implements Disposable {
  readonly #options: CertificateStoreOptions;
  readonly #entries: readonly Entry[];
  readonly #watches: readonly CertificateWatch[];
  #finder: CertificateFinder | null;
  #clients: ClientCertificates | null;
  /** By names that are written out, and by what stands behind a star, with its dot. */
  #byName = new Map<string, Entry>();
  #bySuffix = new Map<string, Entry>();
  /** Chooses by the name that the client asks for; `null` where there is nothing to choose. */
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
    const everyMs = 1000 * Math.ceil(certificates.length / LOOKS_A_SECOND);
    this.#watches = [
      ...this.#entries.filter(({ source }) => isInFiles(source)).map((entry) => this.#watch(entry, everyMs)),
      ...(clientCertificates?.ca.some(isPath) ? [this.#watchAuthorities(clientCertificates)] : []),
    ];
  }

  /** What clients have to show; `null` where none. */
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

  /** For clients that ask for no other; `null` where there is none. */
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
      // None at all would be those of the system.
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
        // Names that two certificates have: those that are configured first.
        if (!table.has(key)) table.set(key, entry);
      }
    }
  }

  #watch(entry: Entry, everyMs: number): CertificateWatch {
    const { clock, onChange } = this.#options;
    // Of the only certificate nobody has to be told which one it is.
    const whose = (): readonly string[] => this.#entries.length === 1 ? [] : entry.names;
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
        onChange(null, whose());
      },
      onProblem: (problem) => onChange(problem, whose()),
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
        // What it has found trusts the authorities before.
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

  /** Looks at no files any more. */
  [Symbol.dispose](): void {
    for (const watch of this.#watches) watch[Symbol.dispose]();
    this.#finder?.[Symbol.dispose]();
  }
}

// Certificates that a function of the configuration finds when a client asks for their names.

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
