/** Comparison of secrets. */

const encoder = new TextEncoder();

/** Whether two texts are the same, in a time that depends on neither where they differ nor how long the secret one is. */
export async function sameDigest(given: string, secret: string): Promise<boolean> {
  const [left, right] = await Promise.all([digest(given), digest(secret)]);
  let difference = 0;
  for (let i = 0; i < left.length; i++) difference |= left[i]! ^ right[i]!;
  return difference === 0;
}

async function digest(text: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", encoder.encode(text)));
}
