import { type Ipvs, parseEndpoint, parseServiceKey, type RealServerKey, type ServiceKey } from '../index.ts'
import { checked, Interrupted, type Report } from './exit-status.ts'
import { type TableOptions, withTable } from './table.ts'
import { type Style, styleFor, type Surroundings } from './terminal/surroundings.ts'

/** Options that every command takes. */
export interface CommonOptions extends TableOptions {
  /** For machines. */
  readonly json?: boolean
}

/** One run of a command. */
export class Session {
  readonly surroundings: Surroundings
  readonly #options: CommonOptions

  constructor(surroundings: Surroundings, options: CommonOptions) {
    this.surroundings = surroundings
    this.#options = options
  }

  /** Whether the result is for a machine. */
  get json(): boolean {
    return this.#options.json === true
  }

  /** Whether a person looks at the result. */
  get terminal(): boolean {
    return this.surroundings.stdout.isTTY === true && !this.json
  }

  /** How the result is shown. */
  get style(): Style {
    return styleFor(this.surroundings.stdout, this.surroundings.env)
  }

  /** Writes a part of the result. */
  print(text: string): void {
    this.surroundings.stdout.write(text)
  }

  /** Writes the result for machines. */
  printJson(value: unknown): void {
    this.print(`${JSON.stringify(value, undefined, 2)}\n`)
  }

  /** Says something beside the result. */
  note(text: string): void {
    this.surroundings.stderr.write(`ipvs: ${text}\n`)
  }

  /** Says what failed, where the command goes on. */
  complain(report: Report): void {
    complain(report, this.json, this.surroundings)
  }

  /** Runs something on the table that the options choose. */
  withTable<T>(body: (ipvs: Ipvs) => Promise<T>): Promise<T> {
    return withTable(this.#options, this.surroundings, body)
  }

  /** Runs something that a signal such as Ctrl-C ends in good order; a second one ends it as it is. */
  async interruptible<T>(body: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const controller = new AbortController()
    const stop = this.surroundings.onSignal((signal) => {
      stop()
      controller.abort(new Interrupted(signal))
    })
    try {
      return await body(controller.signal)
    } finally {
      stop()
    }
  }
}

/** Says what failed, in the form for machines or the one for people. */
export function complain(
  { status, code, message }: Report,
  json: boolean,
  { stderr, env }: Surroundings,
): void {
  const text = json
    ? JSON.stringify({ error: { status, ...(code !== undefined && { code }), message } })
    : `${styleFor(stderr, env).red('ipvs:')} ${message}`
  stderr.write(`${text}\n`)
}

/** Reads a SERVICE of the command line. */
export function serviceOf(text: string): ServiceKey {
  return checked(() => parseServiceKey(text))
}

/** Reads a SERVER of the command line; its port is by default that of its service. */
export function serverOf(text: string, service: ServiceKey): Required<RealServerKey> {
  const { address, port } = checked(() => parseEndpoint(text))
  return { address, port: port ?? (service.protocol === 'fwmark' ? 0 : service.port) }
}
