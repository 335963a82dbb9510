/** A `redis-server` with TLS on one port, and plain text on another. */

import { join } from "node:path";
import { certificateFiles } from "./certificate_files.ts";
import { deadPort } from "./dead_port.ts";
import { RedisServer } from "./redis_server.ts";
import { testCa } from "./test_ca.ts";

/** Options of {@linkcode RedisTlsServer}. */
export interface RedisTlsOptions {
  /** Names in its certificate. @default {["127.0.0.1"]} */
  names?: readonly string[];
  /** Whether clients need a certificate. @default {false} */
  asksForCertificates?: boolean;
}

/** A running server, with its certificate in files. */
export class RedisTlsServer implements AsyncDisposable {
  readonly #stack: AsyncDisposableStack;
  /** The plain-text port, for inspection. */
  readonly plain: RedisServer;
  readonly tlsPort: number;
  /** PEM text of the authority that signed its certificate. */
  readonly caCert: string;

  private constructor(stack: AsyncDisposableStack, plain: RedisServer, tlsPort: number, caCert: string) {
    this.#stack = stack;
    this.plain = plain;
    this.tlsPort = tlsPort;
    this.caCert = caCert;
  }

  /** Starts an empty server. */
  static async start(options: RedisTlsOptions = {}): Promise<RedisTlsServer> {
    const { names = ["127.0.0.1"], asksForCertificates = false } = options;
    await using stack = new AsyncDisposableStack();
    const files = stack.use(await certificateFiles(names));
    const { cert: caCert } = await testCa();
    const caFile = join(files.cert, "..", "ca.pem");
    await Deno.writeTextFile(caFile, caCert);
    let tlsPort = 0;
    const plain = stack.use(
      await RedisServer.start(() => {
        tlsPort = deadPort();
        return [
          ...["--tls-port", String(tlsPort)],
          ...["--tls-cert-file", files.cert, "--tls-key-file", files.key, "--tls-ca-cert-file", caFile],
          ...["--tls-auth-clients", asksForCertificates ? "yes" : "no"],
        ];
      }),
    );
    return new RedisTlsServer(stack.move(), plain, tlsPort, caCert);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}
