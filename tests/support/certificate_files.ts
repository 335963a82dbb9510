/** A certificate and its key in files. */

import { join } from "node:path";
import { type KeyPair, testCa } from "./test_ca.ts";

/** Two files in a temporary folder. */
export class CertificateFiles implements AsyncDisposable {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  get cert(): string {
    return join(this.#folder, "cert.pem");
  }

  get key(): string {
    return join(this.#folder, "key.pem");
  }

  /** Replaces the certificate by one for these names. */
  async issue(names: readonly string[]): Promise<KeyPair> {
    const pair = await (await testCa()).issue({ names });
    this.put(pair);
    return pair;
  }

  /** Replaces both files synchronously, so that no other task runs in between. */
  put({ cert, key }: KeyPair): void {
    Deno.writeTextFileSync(this.cert, cert);
    Deno.writeTextFileSync(this.key, key);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#folder, { recursive: true });
  }
}

/** Makes the files, with a certificate for these names. */
export async function certificateFiles(names: readonly string[]): Promise<CertificateFiles> {
  const files = new CertificateFiles(await Deno.makeTempDir());
  await files.issue(names);
  return files;
}
