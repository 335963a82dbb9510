/** Certificates made by `openssl`, and its client. */

import { join } from "node:path";

/** The files of a certificate and its key. */
export interface Issued {
  readonly cert: string;
  readonly key: string;
}

/** Options of {@linkcode OpenSsl.issue}. */
interface IssueOptions {
  /** The issuer. @default {self-signed} */
  readonly by?: Issued;
  /** Lines of extensions. @default {none} */
  readonly extensions?: string;
  /** As `YYYYMMDDHHMMSSZ`. @default {2024} */
  readonly from?: string;
  /** @default {2049} */
  readonly to?: string;
}

/** The result of an `openssl` client. */
export interface Seen {
  /** Status of the response; `null` without one. */
  readonly status: number | null;
  /** Content of the response. */
  readonly content: string;
  /** Whether a session was resumed. */
  readonly reused: boolean;
}

/** Extensions of an authority. */
export const AUTHORITY = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign";
/** Extensions of a client. */
export const CLIENT = "extendedKeyUsage=clientAuth";

/** A folder with certificates. */
export class OpenSsl implements AsyncDisposable {
  readonly #folder: string;
  #count = 0;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async create(): Promise<OpenSsl> {
    return new OpenSsl(await Deno.makeTempDir());
  }

  /** A path in the folder. */
  path(name: string): string {
    return join(this.#folder, name);
  }

  /** Makes a key, and a certificate for a subject such as `/CN=a/O=b`. */
  async issue(subject: string, options: IssueOptions = {}): Promise<Issued> {
    const { by, extensions = "", from = "20240101000000Z", to = "20491231235959Z" } = options;
    const name = this.path(`${this.#count++}`);
    const [cert, key, request] = [`${name}.crt`, `${name}.key`, `${name}.csr`];
    await run("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")(
      ...["-keyout", key, "-out", request, "-subj", subject, "-multivalue-rdn"],
    );
    await Deno.writeTextFile(`${name}.index`, "");
    await Deno.writeTextFile(
      `${name}.serial`,
      `${crypto.randomUUID().replaceAll("-", "").replace(/^./, "7")}\n`,
    );
    await Deno.writeTextFile(
      `${name}.cnf`,
      `[ca]\ndefault_ca=d\n[d]\ndatabase=${name}.index\nserial=${name}.serial\nnew_certs_dir=${this.#folder}\n` +
        "default_md=sha256\npolicy=p\nunique_subject=no\n[p]\ncommonName=optional\norganizationName=optional\n[x]\n" +
        // Without an extension the certificate would be of version 1.
        `subjectKeyIdentifier=hash\n${extensions}\n`,
    );
    const signer = by === undefined ? ["-selfsign", "-keyfile", key] : ["-cert", by.cert, "-keyfile", by.key];
    await run("ca", "-batch", "-notext", "-preserveDN", "-config", `${name}.cnf`, "-extensions", "x")(
      ...["-in", request, "-out", cert, "-startdate", from, "-enddate", to, ...signer],
    );
    return { cert, key };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#folder, { recursive: true });
  }
}

function run(...first: readonly string[]): (...more: readonly string[]) => Promise<void> {
  return async (...more) => {
    const { success, stderr } = await new Deno.Command("openssl", {
      args: [...first, ...more],
      stdin: "null",
    })
      .output();
    if (!success) throw new Error(new TextDecoder().decode(stderr));
  };
}

/** Arguments for a client with a certificate. */
export function showing({ cert, key }: Issued): string[] {
  return ["-cert", cert, "-key", key];
}

/** Sends a GET with `openssl s_client`, and waits until the connection is closed. */
export async function askByOpenSsl(
  port: number,
  args: readonly string[],
  lines: readonly string[] = [],
): Promise<Seen> {
  const child = new Deno.Command("openssl", {
    args: ["s_client", "-connect", `127.0.0.1:${port}`, "-servername", "localhost", "-ign_eof", ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const output = child.output();
  const writer = child.stdin.getWriter();
  const head = ["GET / HTTP/1.1", "Host: h", "Connection: close", ...lines, "", ""].join("\r\n");
  // The client may have ended already after a failed handshake.
  await writer.write(new TextEncoder().encode(head)).catch(() => {});
  await writer.close().catch(() => {});
  const text = new TextDecoder().decode((await output).stdout);
  const response = /HTTP\/1\.1 (\d{3}) [^]*?\r\n\r\n([^]*?)(?:closed\n)?$/.exec(text);
  return {
    status: response === null ? null : Number(response[1]),
    content: response?.[2] ?? "",
    reused: /^Reused, /m.test(text),
  };
}
