/** What the store needs of a connection to Redis or Valkey. */

/** The scripts that a store runs. */
export type ScriptName = "decide" | "release" | "correct";

/** A connection that is made again by itself whenever it is lost. */
export interface RedisConnection extends AsyncDisposable {
  /** Whether a command that is sent now goes out at once. */
  readonly ready: boolean;

  /**
   * Runs a script by its hash, and sends its text when the server does not know it.
   *
   * Rejects at once when the connection is lost; does not by itself give up on a server that says nothing.
   *
   * @param keys how many of the arguments are keys
   */
  run(script: ScriptName, keys: number, args: readonly string[]): Promise<readonly number[]>;

  /** Deletes keys. */
  delete(keys: readonly string[]): Promise<unknown>;

  /** Asks for a sign of life. */
  ping(): Promise<unknown>;
}

/** Hears how a connection fares. */
export interface ConnectionListener {
  /** The server takes commands. */
  onReady(): void;
  /** It cannot be reached, or is not any more. */
  onLost(reason: string): void;
}
