/**
 * The npm packages that contain copies of the `@std` packages, and their places there.
 *
 * @module
 */

/** A package of an npm registry, pinned by its content. */
export interface Tarball {
  name: string;
  version: string;
  /** The `integrity` of the registry: with this checksum, any source of the bytes is acceptable. */
  sha512: string;
}

/** How one `@std` package is made from a tarball. */
export interface Recipe {
  /** Name below `@std/`. */
  name: string;
  /** The version on JSR of which the files are a copy; `deno.json` must import exactly this version. */
  version: string;
  tarball: Tarball;
  /** The part of a path in the tarball to remove; the rest is the path in the `@std` package. */
  modules: RegExp;
  /** The same for type declarations in the tarball, if it has any for `modules`. */
  declarations?: RegExp;
  /** The entry points of the package that this project imports. */
  exports: Record<string, string>;
}

/** All stable parts of `@std`, as JavaScript without types. */
const DENO_STD: Tarball = {
  name: "deno-std",
  version: "1.4.0",
  sha512: "7c0Y6tyn0Sx0NKiaAeGtDwrpG+C7VFcOStVcYXPnjAuIEonxzVV+n6s8iuFjg6keqzxo/zrPbR/J9EY9BLNsRA==",
};

/** A program that contains the final release of `@std/log`, with its types. */
const WINDMILL_CLI: Tarball = {
  name: "windmill-cli",
  version: "1.596.0",
  sha512: "5aFVNTOEaGyTKyQlyjFI1FAZ8fTIQ2vGSmnqL3FfZuKpKWdqGXh8p9Azdp8N2MkIwyP1vYtOK9nfQk6jr6tRTw==",
};

/** All `@std` packages that this project uses. */
export const RECIPES: Recipe[] = [
  {
    name: "assert",
    version: "1.0.19",
    tarball: DENO_STD,
    modules: /^package\//,
    exports: { ".": "./assert/mod.js" },
  },
  {
    name: "cli",
    version: "1.0.32",
    tarball: DENO_STD,
    modules: /^package\//,
    exports: { "./parse-args": "./cli/parse_args.js" },
  },
  {
    name: "http",
    version: "1.1.4",
    tarball: DENO_STD,
    modules: /^package\//,
    exports: {
      "./cookie": "./http/cookie.js",
      "./negotiation": "./http/negotiation.js",
      "./server-sent-event-stream": "./http/server_sent_event_stream.js",
      "./status": "./http/status.js",
    },
  },
  {
    name: "log",
    version: "0.224.14",
    tarball: WINDMILL_CLI,
    modules: /^package\/esm\/deps\/[^/]+\/@std\//,
    declarations: /^package\/types\/deps\/[^/]+\/@std\//,
    exports: {
      ".": "./log/0.224.14/mod.js",
      "./base-handler": "./log/0.224.14/base_handler.js",
      "./file-handler": "./log/0.224.14/file_handler.js",
      "./rotating-file-handler": "./log/0.224.14/rotating_file_handler.js",
      "./levels": "./log/0.224.14/levels.js",
      "./logger": "./log/0.224.14/logger.js",
    },
  },
];
