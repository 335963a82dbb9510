/** The certificate of a listener, as text or in files. */

import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import type { Clock } from "../core/clock.ts";
import { resourceShortage } from "../core/resource_shortage.ts";

/** Certificate and key as PEM texts. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** The two texts of a certificate, as they are compared. */
export function textsOf({ cert, key }: Certificate): readonly [cert: string, key: string] {
  return [cert, key];
}

/** Undoes {@linkcode textsOf}. */
export function certificateFrom([cert = "", key = ""]: readonly string[]): Certificate {
  return { cert, key };
}

/** Whether any part of it is in a file, which may change. */
export function isInFiles({ cert, key }: Certificate): boolean {
  return isPath(cert) || isPath(key);
}

/**
 * Reads certificate and key.
 *
 * @throws {Error} when a file cannot be read, with its path and the reason
 */
export function readCertificate({ cert, key }: Certificate): Certificate {
  return { cert: readPem(cert, "certificate"), key: readPem(key, "key") };
}

/**
 * Finds out whether a listener can use the two. The runtime's `node:tls` takes a key of another certificate, and then fails
 * every handshake; its `Deno.listenTls` does not. So one is opened for a moment on a free port of loopback; a process that may
 * not listen there goes without: else it would need a permission for nothing but this.
 *
 * @returns the certificate, without those behind it
 * @throws {Error} when they are not a certificate and its key
 */
export function tryCertificate({ cert, key }: Certificate): X509Certificate {
  const certificate = checkPair({ cert, key });
  try {
    Deno.listenTls({ hostname: "127.0.0.1", port: 0, cert, key }).close();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
  }
  return certificate;
}

/**
 * Finds out whether the two belong together.
 *
 * @returns the certificate, without those behind it
 * @throws {Error} when they do not, or are something else
 */
export function checkPair({ cert, key }: Certificate): X509Certificate {
  const certificate = withSubject("the certificate", () => certificatesOf(cert)[0]!);
  const privateKey = withSubject("the key", () => privateKeyOf(key));
  if (!certificate.checkPrivateKey(privateKey)) throw new Error("the key is that of another certificate");
  return certificate;
}

function withSubject<Value>(subject: string, make: () => Value): Value {
  try {
    return make();
  } catch (error) {
    throw new Error(`${subject} ${(error as Error).message}`, { cause: error });
  }
}

/**
 * The certificates in a text, all of which have to be good.
 *
 * @throws {Error} when one is not, or there is none; to be read behind what they stand in
 */
export function certificatesOf(text: string): X509Certificate[] {
  const found = text.match(
    /-----BEGIN (?:TRUSTED )?CERTIFICATE-----[^-]*-----END (?:TRUSTED )?CERTIFICATE-----/g,
  );
  if (found === null) throw new Error(`has no certificate${kindOf(text)}`);
  return found.map((each, index) => {
    try {
      return new X509Certificate(each);
    } catch {
      const which = found.length === 1 ? "a certificate" : `a certificate (number ${index + 1})`;
      throw new Error(`has ${which} that cannot be read`);
    }
  });
}

/**
 * The private key in a text.
 *
 * @throws {Error} when there is none that can be used; to be read behind what it stands in
 */
export function privateKeyOf(text: string): KeyObject {
  if (!/-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----/.test(text)) {
    throw new Error(`has no private key${kindOf(text)}`);
  }
  if (/-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: .*ENCRYPTED/m.test(text)) {
    throw new Error("has an encrypted private key, and no password can be given: decrypt the key");
  }
  try {
    return createPrivateKey(text);
  } catch {
    throw new Error("has a private key that cannot be read");
  }
}

/** Names the kind of PEM text that was found instead. */
function kindOf(text: string): string {
  const kind = /-----BEGIN ([A-Z ]+)-----/.exec(text)?.[1];
  return kind === undefined ? "" : `, but a ${kind.toLowerCase()}`;
}

/** The DNS names that a certificate is for, in lower case (RFC 9525 section 6.3: its subject is none). */
export function dnsNames({ subjectAltName }: X509Certificate): string[] {
  return Array.from(
    (subjectAltName ?? "").matchAll(/(?:^|, )DNS:([^,\s]+)/g),
    ([, name]) => name!.toLowerCase(),
  );
}

/** Whether a text is the path of a file, and not what would be in it. */
export function isPath(text: string): boolean {
  return !text.includes("-----BEGIN");
}

/**
 * A PEM text, or what is in the file that it names.
 *
 * @throws {Error} when the file cannot be read, with its path and the reason
 */
export function readPem(text: string, what: string): string {
  if (!isPath(text)) return text;
  try {
    return readPemFile(text);
  } catch (error) {
    throw new Error(`cannot read the ${what} ${JSON.stringify(text)}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/**
 * Reads a file.
 *
 * @throws {Error} when it cannot be read, with the reason
 */
export function readPemFile(path: string): string {
  // The runtime would ask at the terminal, and the proxy would stand still until somebody answers.
  if (Deno.permissions.querySync({ name: "read", path }).state !== "granted") {
    throw new Error("run with --allow-read");
  }
  try {
    return Deno.readTextFileSync(path);
  } catch (cause) {
    throw new Error(reasonOf(cause), { cause });
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "there is no such file";
  if (error instanceof Deno.errors.PermissionDenied) return "permission denied by the system";
  if (error instanceof Deno.errors.NotCapable) return "run with --allow-read";
  return error instanceof Error ? error.message : String(error);
}

// Notices that the files of a certificate have changed.

/** How often the files are looked at. */
const LOOK_EVERY_MS = 1000;

/** What a {@linkcode CertificateWatch} takes. */
interface CertificateWatchOptions {
  /** Reads the files; what it throws is why they are of no use. */
  readonly read: () => readonly string[];
  /** The texts in use. */
  readonly current: readonly string[];
  readonly clock: Clock;
  /** How long between two looks. @default {a second} */
  readonly everyMs?: number;
  /** Told of new texts; the next look comes after it. What it throws is why they are of no use. */
  readonly onChange: (texts: readonly string[]) => void | Promise<void>;
  /** Told why files that have changed are of no use; once for the same reason. */
  readonly onProblem: (problem: string) => void;
}

/**
 * Reads the files once a second and compares.
 *
 * The runtime can watch files, but what renews certificates swaps symbolic links and whole folders, which a watch on
 * a file does not see. Certificate and key are two files: between the two writes they do not fit, so that nothing is said of
 * what is of no use until it has been found so twice.
 */
export class CertificateWatch implements Disposable {
  readonly #options: CertificateWatchOptions;
  #current: readonly string[];
  /** What was of no use when it was looked at last. */
  #seen: readonly string[] | null = null;
  #problem = "";
  #timer: Disposable | null = null;
  #disposed = false;

  constructor(options: CertificateWatchOptions) {
    this.#options = options;
    this.#current = options.current;
    this.#lookLater();
  }

  #lookLater(): void {
    if (this.#disposed) return;
    this.#timer = this.#options.clock.setTimer(() => {
      this.#look().finally(() => this.#lookLater());
    }, this.#options.everyMs ?? LOOK_EVERY_MS);
  }

  async #look(): Promise<void> {
    let found: readonly string[] | null = null;
    try {
      found = this.#options.read();
      if (isSame(found, this.#current)) return void (this.#problem = "");
      await this.#options.onChange(found);
      this.#current = found;
      this.#seen = null;
      this.#problem = "";
    } catch (error) {
      // Says nothing of the files.
      if (resourceShortage(error) !== null) return;
      const problem = error instanceof Error ? error.message : String(error);
      const before = this.#seen;
      this.#seen = found;
      // One of the two files may not have been written yet.
      if (found !== null && (before === null || !isSame(found, before))) return;
      if (problem === this.#problem || this.#disposed) return;
      this.#problem = problem;
      this.#options.onProblem(problem);
    }
  }

  /** Looks no more. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#timer?.[Symbol.dispose]();
  }
}

function isSame(one: readonly string[], other: readonly string[]): boolean {
  return one.every((text, index) => text === other[index]);
}
