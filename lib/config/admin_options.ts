/** Where the proxy is watched and steered, as an operator writes it. */

/** Where a token stands: in the file of that name, or in that variable of the environment; or the token itself. */
export type AdminToken = string | { readonly file: string } | { readonly env: string };

/** The admin listener: the dashboard, the state of the proxy, and changes to it. */
export interface AdminOptions {
  /** `"host:port"`, `"unix:/path"` or a port of `127.0.0.1`. A public address needs a token. @default {"127.0.0.1:6189"} */
  listen?: string | number;
  /**
   * Who may change things: a token by the name of its owner, which the log shows with each change. Without one nothing can
   * be changed.
   *
   * @default {nobody}
   */
  tokens?: Readonly<Record<string, AdminToken>>;
  /** Who may look: everybody who reaches the listener, or those with a token. @default {"anyone", and "token" at a public address} */
  read?: "anyone" | "token";
  /** Names by which browsers reach it, beside `localhost`, addresses and the host of `listen`. @default {[]} */
  hosts?: readonly string[];
  /** When `/readyz` says that the proxy is ready. */
  readyz?: ReadinessOptions;
}

/** When the proxy is ready; never while it shuts down. */
export interface ReadinessOptions {
  /** Pools that need servers. @default {none} */
  pools?: readonly string[];
  /** How many servers each of them needs that can be sent requests. @default {1} */
  minServers?: number;
}

/** Who may look. */
export const ADMIN_READERS = ["anyone", "token"] as const;

/** Shortest token that is accepted: 16 characters cannot be guessed. */
export const MIN_TOKEN_LENGTH = 16;

/** Where the admin listener is. */
export interface AdminPlace {
  readonly hostname: string;
  readonly port: number;
  /** Path of the socket, which takes the place of host and port. */
  readonly unix?: string;
}

/** The same, complete. */
export interface ResolvedAdmin {
  readonly listen: AdminPlace;
  readonly tokens: ReadonlyMap<string, AdminToken>;
  readonly read: typeof ADMIN_READERS[number];
  readonly hosts: readonly string[];
  readonly readyz: Required<ReadinessOptions>;
}
