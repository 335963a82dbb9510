/** The configuration of the program: its file, and what the command line says in place of it. */

import {
  type AdminPlace,
  isPrivatePlace,
  resolveAdmin,
  type ResolvedAdmin,
} from "../config/admin_options.ts";
import { type EngineName, formatListen, type ResolvedListen, withEngine } from "../config/listen_options.ts";
import type { ConfigProblem } from "../config/config_error.ts";
import { loadConfig } from "../config/load_config.ts";
import { ModuleGraph, type ModuleSources, type ModuleTexts } from "../config/module_graph.ts";
import type { ResolvedConfig } from "../config/proxy_config.ts";
import { findTokenProblems } from "../admin/guard.ts";
import { findCertificateProblems } from "../server/certificates.ts";
import type { RunOptions } from "./parse_arguments.ts";
import { UsageError } from "./io.ts";

/** What was read. */
interface ProgramConfigLoad {
  readonly config: ResolvedConfig;
  /** Exports that nothing reads. */
  readonly unread: readonly string[];
  readonly sources: ModuleSources;
}

/** Reads the configuration as often as it is asked to. */
export class ProgramConfig implements Disposable {
  readonly #options: RunOptions;
  readonly #graph = new ModuleGraph();
  /** The files that it is made of, for all that is known. */
  readonly files: Set<string> = new Set();
  /** What stood in them when it was read last. */
  texts: ModuleTexts = {};

  /** Path or URL of it. */
  get source(): string {
    return this.#options.source;
  }

  constructor(options: RunOptions) {
    this.#options = options;
  }

  /**
   * Reads it.
   *
   * @param texts its modules, in place of what stands in their files
   * @throws {ConfigError} when it cannot be used
   * @throws {UsageError} when the command line does not fit it
   */
  async load(texts?: ModuleTexts): Promise<ProgramConfigLoad> {
    const { source, listen, engine, admin, workers, check } = this.#options;
    const found = new Set<string>();
    try {
      const { config: loaded, unread, sources } = await loadConfig(
        source,
        this.#graph,
        found,
        // Where the command line says where to listen, those of the file are of no interest.
        check ? (good) => findFileProblems(listen.length === 0 ? good : { ...good, listen: [] }) : null,
        texts,
      );
      const places = listen.length === 0 ? loaded.listen : listenInstead(listen, loaded.listen);
      const config = {
        ...loaded,
        listen: engine === null ? places : places.map((place) => by(engine, place)),
        admin: admin === null ? loaded.admin : adminAt(admin, loaded.admin),
        workers: workers ?? loaded.workers,
      };
      this.files.clear();
      this.texts = sources!.texts;
      return { config, unread, sources: sources! };
    } finally {
      // Of one that cannot be loaded not all files are known: those of the one before may be what has to be mended.
      for (const file of found) this.files.add(file);
    }
  }

  [Symbol.dispose](): void {
    this.#graph[Symbol.dispose]();
  }
}

/** What is wrong with the files that a configuration names: certificates, keys, tokens. */
export function findFileProblems(config: ResolvedConfig): ConfigProblem[] {
  return [...findCertificateProblems(config), ...findTokenProblems(config.admin)];
}

/**
 * The places of the command line, which treat fields and clients as those of the configuration do where these agree: a key by
 * a field that is dropped would otherwise find none.
 */
function listenInstead(
  places: readonly ResolvedListen[],
  configured: readonly ResolvedListen[],
): readonly ResolvedListen[] {
  const [first, ...others] = configured.filter(({ redirectPort }) => redirectPort === undefined);
  if (first === undefined) return places;
  const { underscores, limits, proxyProtocol, engine, tls } = first;
  const fields = others.some((each) => each.underscores !== underscores) || underscores === undefined
    ? {}
    : { underscores };
  const clients = others.length > 0 || tls !== undefined
    ? {}
    : { limits, engine, ...(proxyProtocol === undefined ? {} : { proxyProtocol }) };
  return places.map((place) => ({ ...place, ...fields, ...clients }));
}

/** @throws {UsageError} when others than this machine reach the place, and nobody has a token */
function adminAt(listen: AdminPlace, configured: ResolvedAdmin | null): ResolvedAdmin {
  const admin = configured ?? resolveAdmin(true)!;
  if (isPrivatePlace(listen)) return { ...admin, listen };
  if (admin.tokens.size > 0) return { ...admin, listen, read: "token" };
  throw new UsageError(
    `--admin must not be ${formatListen(listen)} without admin.tokens: others than this machine can reach it`,
  );
}

/** @throws {UsageError} when the engine cannot do what the place is configured to */
function by(engine: EngineName, place: ResolvedListen): ResolvedListen {
  const made = withEngine(place, engine);
  if (typeof made !== "string") return made;
  throw new UsageError(`--engine must not be "${engine}" at ${formatListen(place)}: ${made}`);
}
