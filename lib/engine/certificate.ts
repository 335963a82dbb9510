/** The certificate of a listener, as text or in files. */

import type { ListenTlsOptions } from "../config/proxy_config.ts";

/** Certificate and key as PEM texts. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** Whether any part of it is in a file, which may change. */
export function isInFiles({ cert, key }: ListenTlsOptions): boolean {
  return isPath(cert) || isPath(key);
}

/**
 * Reads certificate and key.
 *
 * @throws {Error} when a file cannot be read, with its path and the reason
 */
export function readCertificate({ cert, key }: ListenTlsOptions): Certificate {
  return { cert: readPem(cert, "certificate"), key: readPem(key, "key") };
}

/**
 * Finds out whether a listener can use the two, by opening one for a moment on a free port of loopback. A process that may
 * not listen there goes without: else it would need a permission for nothing but this.
 *
 * @throws {Error} when they are not a certificate and its key
 */
export function tryCertificate({ cert, key }: Certificate): void {
  try {
    Deno.listenTls({ hostname: "127.0.0.1", port: 0, cert, key }).close();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
  }
}

/** Whether a text is the path of a file, and not what would be in it. */
export function isPath(text: string): boolean {
  return !text.includes("-----BEGIN");
}

function readPem(text: string, what: string): string {
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
