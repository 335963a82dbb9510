/** Measures one limiter in a Worker. */

import { measure } from "./limiter_contenders.ts";

const scope = globalThis as unknown as {
  onmessage: ((event: MessageEvent) => void) | null;
  postMessage(message: unknown): void;
};

scope.onmessage = async ({ data }) => scope.postMessage(await measure(data));
