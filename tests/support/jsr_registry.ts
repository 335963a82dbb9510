/** A registry with the API of JSR: `deno publish` uploads to it, and `jsr:` imports load from it. */

import { readTarball } from "../../tools/vendor/tar.ts";

const VENDOR = new URL("../../vendor/", import.meta.url);

/** An uploaded version of a package. */
export interface Upload {
  /** `@scope/name`. */
  name: string;
  version: string;
  /** Contents by path. */
  files: Map<string, Uint8Array>;
}

/** The registry: serves uploaded packages, and the packages in vendor/. */
export class JsrRegistry implements AsyncDisposable {
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly uploads: Upload[] = [];

  constructor() {
    this.#server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: () => {} },
      (request) => this.#answer(request),
    );
  }

  /** Value for `JSR_URL`. */
  get url(): string {
    return `http://127.0.0.1:${this.#server.addr.port}/`;
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith("/api/")) return await this.#answerApi(pathname, request);
    return await this.#publishedFile(pathname) ?? await vendoredFile(pathname) ?? notFound();
  }

  /** The API used for publishing: check of the package, check of the version, upload. */
  async #answerApi(pathname: string, request: Request): Promise<Response> {
    const [, scope, name, version] =
      /^\/api\/scopes\/(\w+)\/packages\/(\w+)(?:\/versions\/([\d.]+))?$/.exec(pathname) ?? [];
    if (scope === undefined) return notFound();
    if (version === undefined) return Response.json({ scope, name });
    if (request.method !== "POST") return notFound();
    const files = await readTarball(new Uint8Array(await request.arrayBuffer()));
    this.uploads.push({ name: `@${scope}/${name}`, version, files });
    return Response.json({ id: "1", status: "success", error: null });
  }

  async #publishedFile(pathname: string): Promise<Response | undefined> {
    for (const upload of this.uploads) {
      const { name, version, files } = upload;
      if (pathname === `/${name}/meta.json`) {
        return Response.json({ latest: version, versions: { [version]: {} } });
      }
      if (pathname === `/${name}/${version}_meta.json`) return Response.json(await describe(upload));
      const file = files.get(pathname.slice(`/${name}/${version}/`.length));
      if (pathname.startsWith(`/${name}/${version}/`) && file !== undefined) {
        return new Response(new Blob([file.slice()]));
      }
    }
    return undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }
}

/** Metadata of a version as in JSR: entry points, and size and checksum of each file. */
async function describe({ files }: Upload): Promise<unknown> {
  const { exports } = JSON.parse(new TextDecoder().decode(files.get("deno.json")));
  const manifest: Record<string, { size: number; checksum: string }> = {};
  for (const [path, bytes] of files) {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes.slice()));
    manifest[`/${path}`] = { size: bytes.length, checksum: `sha256-${digest.toHex()}` };
  }
  return { exports, manifest };
}

/** A file of a package in vendor/, which has a folder per host. */
async function vendoredFile(pathname: string): Promise<Response | undefined> {
  for await (const { name, isDirectory } of Deno.readDir(VENDOR)) {
    if (!isDirectory) continue;
    const bytes = await Deno.readFile(new URL(`${name}${pathname}`, VENDOR)).catch(() => undefined);
    if (bytes !== undefined) return new Response(bytes);
  }
  return undefined;
}

function notFound(): Response {
  return new Response("not found", { status: 404 });
}
