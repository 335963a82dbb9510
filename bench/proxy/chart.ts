export function chart(): string {
  return "";
}
