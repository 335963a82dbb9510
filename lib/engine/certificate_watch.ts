/** Notices that the files of a certificate have changed. */

import type { Clock } from "../core/clock.ts";
import type { ListenTlsOptions } from "../config/proxy_config.ts";
import { resourceShortage } from "../core/resource_shortage.ts";
import { type Certificate, readCertificate, tryCertificate } from "./certificate.ts";

/** How often the files are looked at. */
const LOOK_EVERY_MS = 1000;

/** What a {@linkcode CertificateWatch} takes. */
export interface CertificateWatchOptions {
  readonly tls: ListenTlsOptions;
  /** The one in use. */
  readonly current: Certificate;
  readonly clock: Clock;
  /** Told of a new one that has been found to be good; the next look comes after it. */
  readonly onChange: (certificate: Certificate) => Promise<void>;
  /** Told why files that have changed are of no use; once for the same reason. */
  readonly onProblem: (problem: string) => void;
}

/**
 * Reads the files once a second and compares.
 *
 * The runtime can watch files, but what renews certificates swaps symbolic links and whole folders, which a watch on
 * a file does not see. Certificate and key are two files: between the two writes they do not fit, and are left alone.
 */
export class CertificateWatch implements Disposable {
  readonly #options: CertificateWatchOptions;
  #current: Certificate;
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
    }, LOOK_EVERY_MS);
  }

  async #look(): Promise<void> {
    try {
      const found = readCertificate(this.#options.tls);
      const { cert, key } = this.#current;
      if (found.cert === cert && found.key === key) return void (this.#problem = "");
      tryCertificate(found);
      await this.#options.onChange(found);
      this.#current = found;
      this.#problem = "";
    } catch (error) {
      // Says nothing of the files.
      if (resourceShortage(error) !== null) return;
      const problem = error instanceof Error ? error.message : String(error);
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
