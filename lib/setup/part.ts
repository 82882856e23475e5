import type { Family, ForwardingMethod, ServiceKey, Tunnel } from '../model/types.ts'

/** One thing that a machine needs to be a director or a real server. */
export interface SetupPart {
  /** Why: a sentence. */
  readonly why: string
  /** In this order, as root. None: there is nothing to do, but something to know. */
  readonly steps: readonly SetupStep[]
}

export type SetupStep = SysctlStep | RouteStep | CommandStep

/** Sets a sysctl. A dot in the name of an interface is a slash in that of a sysctl. */
export interface SysctlStep {
  readonly kind: 'sysctl'
  readonly name: string
  readonly value: string
  /** Sysctls that the kernel changes too, each time. */
  readonly changes?: readonly string[]
}

/** Leads packets elsewhere, in the place of the route that was there. */
export interface RouteStep {
  readonly kind: 'route'
  readonly family: Family
  /** `default`, or a network. */
  readonly to: string
  /** `via 10.0.0.1`, or `dev eth0`. */
  readonly by: string
  /** Of the route whose place it takes. Default: 0, and 1024 for IPv6. */
  readonly metric?: number
}

/** Anything else. */
export interface CommandStep {
  readonly kind: 'command'
  /** A line of shell. */
  readonly command: string
  /** A test of the shell: it is done already. */
  readonly unless: string
  /** Takes it back. Absent: that goes with another step, or it stays, because others may use it by now. */
  readonly undo?: string
}

/** A service, as far as setting up needs it: those of a state are such. */
export type ServiceToSetUp = ServiceKey & {
  readonly realServers?:
    | readonly {
        readonly address: string
        readonly method?: ForwardingMethod | undefined
        readonly tunnel?: Tunnel | undefined
      }[]
    | undefined
}

/** The commands of these parts as one types them, on a machine on which nothing is done yet. */
export function commandsOf(parts: readonly SetupPart[]): string[] {
  return parts.flatMap(({ steps }) => steps.map(commandOf))
}

/** All sysctls that these parts set. */
export function sysctlsOf(parts: readonly SetupPart[]): Record<string, string> {
  const steps = parts.flatMap((part) => part.steps)
  return Object.fromEntries(
    steps.flatMap((step) => (step.kind === 'sysctl' ? [[step.name, step.value] as const] : [])),
  )
}

/** A step as one types it. */
export function commandOf(step: SetupStep): string {
  switch (step.kind) {
    case 'sysctl':
      return `sysctl -w ${step.name}=${step.value}`
    case 'route':
      return `${ip(step.family)} route replace ${routeOf(step)}`
    case 'command':
      return step.command
  }
}

/** The network, and how to get there. */
export function routeOf({ to, by, metric }: RouteStep): string {
  return `${to} ${by}${metric === undefined ? '' : ` metric ${String(metric)}`}`
}

export function ip(family: Family): string {
  return family === 'ipv4' ? 'ip' : 'ip -6'
}

/** The same parts, with each command only where it comes first. */
export function withoutRepeats(parts: readonly SetupPart[]): SetupPart[] {
  const seen = new Set<string>()
  return parts.map((part) => ({
    ...part,
    steps: part.steps.filter((step) => {
      const command = commandOf(step)
      return !seen.has(command) && seen.add(command)
    }),
  }))
}
