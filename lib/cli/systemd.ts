import type { Environment, Surroundings } from './terminal/surroundings.ts'

type SendNotification = Surroundings['sendNotification']

/** What this process tells systemd about itself, as sd_notify(3) and sd_watchdog_enabled(3) describe. Nothing if it is not asked to. */
export class ServiceManager {
  readonly #env: Environment
  readonly #send: SendNotification
  readonly #note: (text: string) => void
  #failed = false

  /** `note` gets the reason of the first notification that fails: that must not end a director. */
  constructor(env: Environment, send: SendNotification, note: (text: string) => void) {
    this.#env = env
    this.#send = send
    this.#note = note
  }

  /** Sends lines such as `READY=1`. */
  notify(...lines: readonly string[]): void {
    const socket = this.#env.NOTIFY_SOCKET ?? ''
    if (socket === '') return
    const reason = this.#trySend(socket, lines.join('\n'))
    if (reason === undefined || this.#failed) return
    this.#failed = true
    this.#note(`cannot notify systemd at ${socket}: ${reason}`)
  }

  /** Says twice in each period of WatchdogSec= that this process is alive, until the function that it returns is called. */
  keepAlive(): () => void {
    const { WATCHDOG_USEC: microseconds = '', WATCHDOG_PID: pid = '' } = this.#env
    const periodMs = Number(microseconds) / 1000
    if (!(periodMs > 0) || (pid !== '' && Number(pid) !== process.pid)) return () => undefined
    const timer = setInterval(() => {
      this.notify('WATCHDOG=1')
    }, periodMs / 2)
    return () => {
      clearInterval(timer)
    }
  }

  #trySend(socket: string, text: string): string | undefined {
    try {
      return this.#send(socket, text)
    } catch (error) {
      return (error as Error).message
    }
  }
}

/** For the line that `systemctl status` shows. Its text may come from anywhere. */
export function statusLine(text: string): string {
  return `STATUS=${text.replaceAll(/\s+/g, ' ')}`
}

/** Begins a reload, which READY=1 ends. */
export function reloading(): readonly string[] {
  // The clock of hrtime is CLOCK_MONOTONIC.
  return ['RELOADING=1', `MONOTONIC_USEC=${String(process.hrtime.bigint() / 1000n)}`]
}
