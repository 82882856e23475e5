import {
  formatEndpoint,
  formatServiceKey,
  type RealServerKey,
  type ServiceKey,
  type SnapshotEntry,
  type Warning,
  warningsOf,
} from '../index.ts'

/** What the kernel ignores of a table, by what it is about. */
export class Warned {
  /** In the order of the table. */
  readonly all: readonly Warning[]
  readonly #bySubject = new Map<string, Warning[]>()

  constructor(all: readonly Warning[]) {
    this.all = all
    for (const warning of all) {
      const subject = subjectOf(warning.service, warning.server)
      this.#bySubject.set(subject, [...(this.#bySubject.get(subject) ?? []), warning])
    }
  }

  static async of(table: readonly SnapshotEntry[]): Promise<Warned> {
    return new Warned(await warningsOf(table))
  }

  /** Those about a real server, or about a service alone. */
  about(service: ServiceKey, server?: Required<RealServerKey>): readonly Warning[] {
    return this.all.length === 0 ? [] : (this.#bySubject.get(subjectOf(service, server)) ?? [])
  }

  /** The same as options of a line: `warning=port-ignored`. */
  optionsOf(service: ServiceKey, server?: Required<RealServerKey>): string[] {
    return [...new Set(this.about(service, server).map(({ code }) => `warning=${code}`))]
  }
}

function subjectOf(service: ServiceKey, server?: Required<RealServerKey>): string {
  return server === undefined
    ? formatServiceKey(service)
    : `${formatServiceKey(service)} ${formatEndpoint(server)}`
}
