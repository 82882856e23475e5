/** A command of another program, to be run in a network namespace: a name under /run/netns, or a path. */
export function inNetns(netns: string | undefined, argv: readonly string[]): string[] {
  if (netns === undefined) return [...argv]
  return ['nsenter', `--net=${netns.includes('/') ? netns : `/run/netns/${netns}`}`, '--', ...argv]
}
