/** What a version was made with, as "onnx 1.17". */
export function frameworkOf({ name, version }: { name: string; version?: string }): string {
  return version ? `${name} ${version}` : name;
}
