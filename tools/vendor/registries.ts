/**
 * Finds the registries that are in force here and fetches from them.
 *
 * Deno knows both addresses (from its defaults, `JSR_URL`, `NPM_CONFIG_REGISTRY` and `.npmrc`), so it is asked:
 * with nothing cached and no fetching allowed, it names the address that it would have asked first.
 *
 * @module
 */
import type { Tarball } from "./recipes.ts";

/** A JSR that answers does so in a fraction of this; one behind a firewall never does. */
const PROBE_TIMEOUT_MS = 3_000;
/** Enough for the larger of the two tarballs (5.6 MB) over a slow line. */
const FETCH_TIMEOUT_MS = 120_000;

/** The address of the JSR registry in force, which is where its packages' files live. */
export async function findJsr(): Promise<URL> {
  return new URL("../../", await firstAddress("jsr:@std/log"));
}

/** Why JSR is no use here, or `undefined` if it answers. */
export async function jsrProblem(jsr: URL): Promise<string | undefined> {
  try {
    const response = await fetch(new URL("@std/log/meta.json", jsr), {
      signal: AbortSignal.timeout(PROBE_TIMEOUT_MS),
    });
    const body = await response.text();
    if (!response.ok) return `${jsr} answers ${response.status}`;
    // A captive portal answers too, but not with the versions of a package.
    return "versions" in JSON.parse(body) ? undefined : `${jsr} does not answer as JSR does`;
  } catch (error) {
    return reason(error);
  }
}

/**
 * Fetches a tarball from the npm registry in force, and checks its content.
 *
 * If that fails, npm gets a try, where it is installed: it can log in to a registry that wants that.
 */
export async function fetchTarball(tarball: Tarball): Promise<Uint8Array<ArrayBuffer>> {
  const problems: string[] = [];
  for (const attempt of [fetchFromRegistry, packWithNpm]) {
    try {
      const bytes = await attempt(tarball);
      const digest = new Uint8Array(await crypto.subtle.digest("SHA-512", bytes)).toBase64();
      if (digest === tarball.sha512) return bytes;
      problems.push(`${tarball.name}@${tarball.version} is not what it was: its sha512 is ${digest}`);
    } catch (error) {
      problems.push(reason(error));
    }
  }
  throw new Error(problems.join("; "));
}

async function fetchFromRegistry({ name, version }: Tarball): Promise<Uint8Array<ArrayBuffer>> {
  const registry = new URL("./", await firstAddress(`npm:${name}@${version}`));
  const address = new URL(`${name}/-/${name}-${version}.tgz`, registry);
  const response = await fetch(address, { signal: AbortSignal.timeout(FETCH_TIMEOUT_MS) });
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (!response.ok) throw new Error(`${address} answers ${response.status}`);
  return bytes;
}

async function packWithNpm({ name, version }: Tarball): Promise<Uint8Array<ArrayBuffer>> {
  const folder = await Deno.makeTempDir({ prefix: "lbproxy-vendor-" });
  try {
    const { success, stderr } = await new Deno.Command("npm", {
      args: ["pack", `${name}@${version}`, "--ignore-scripts", "--fetch-retries=0", "--silent"],
      cwd: folder,
      stdin: "null",
      stdout: "null",
      stderr: "piped",
      signal: AbortSignal.timeout(FETCH_TIMEOUT_MS),
    }).output();
    if (!success) {
      throw new Error(`npm pack ${name}@${version} fails ${new TextDecoder().decode(stderr).trim()}`.trim());
    }
    return await Deno.readFile(`${folder}/${name}-${version}.tgz`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The first address that Deno would fetch for a package. */
async function firstAddress(specifier: string): Promise<URL> {
  const emptyCache = await Deno.makeTempDir({ prefix: "lbproxy-vendor-" });
  try {
    const { stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-config", "--no-lock", "--cached-only", specifier],
      env: { DENO_DIR: emptyCache, NO_COLOR: "1" },
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).output();
    const message = new TextDecoder().decode(stderr);
    const address = /https?:\/\/[^\s"']+/.exec(message)?.[0];
    if (address === undefined) {
      throw new Error(`Deno does not say where ${specifier} comes from: ${message.trim()}`);
    }
    return new URL(address);
  } finally {
    await Deno.remove(emptyCache, { recursive: true });
  }
}

function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // What went wrong with a connection stands in the cause.
  return error.cause instanceof Error ? error.cause.message : error.message;
}
