import { word } from './findings/host.ts'

/** Modules and programs, and a setting that no namespace has for itself. */
const OF_THE_MACHINE = /^(?:modprobe|echo|apt-get) |^sysctl -w net\.netfilter\.nf_conntrack_max=/

/** A command of a finding as it is to be run outside of the network namespace that was looked at: a name, or a path. */
export function commandInNetns(command: string, netns: string): string {
  if (OF_THE_MACHINE.test(command)) return command
  const [, line] = /^ipvs (.*)/s.exec(command) ?? []
  if (line !== undefined) return `ipvs --netns ${word(netns)} ${line}`
  return netns.includes('/')
    ? `nsenter --net=${word(netns)} -- ${command}`
    : `ip netns exec ${word(netns)} ${command}`
}
