import { spawn } from 'node:child_process'
import { inNetns } from './netns-command.ts'

/** How a script ended. */
export interface ScriptEnd {
  /** 0: it did what it should. */
  readonly status: number
  /** Lines of its output. */
  readonly lines: readonly string[]
  /** Lines of its standard error. */
  readonly errors: readonly string[]
}

export interface ScriptOptions {
  readonly netns: string | undefined
  readonly signal: AbortSignal
  /** Called with each line of output when it is there. */
  readonly onLine?: (line: string) => void
}

/** Runs a script of the shell to its end. A signal is passed on to it, and it still ends in good order. */
export async function runScript(
  script: string,
  args: readonly string[],
  { netns, signal, onLine }: ScriptOptions,
): Promise<ScriptEnd> {
  signal.throwIfAborted()
  const [file = '', ...words] = inNetns(netns, ['sh', '-s', '--', ...args])
  const child = spawn(file, words, { stdio: 'pipe' })
  const stop = (): void => {
    child.kill('SIGTERM')
  }
  signal.addEventListener('abort', stop)
  const lines: string[] = []
  const errors: string[] = []
  collect(child.stdout, lines, onLine)
  collect(child.stderr, errors)
  try {
    const ended = new Promise<number>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (code) => {
        resolve(code ?? 128)
      })
    })
    // One that ends early has read enough of it.
    child.stdin.on('error', () => undefined)
    child.stdin.end(script)
    return { status: await ended, lines, errors }
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

function collect(stream: NodeJS.ReadableStream, lines: string[], onLine?: (line: string) => void): void {
  let rest = ''
  const add = (line: string): void => {
    lines.push(line)
    onLine?.(line)
  }
  stream.setEncoding('utf8')
  stream.on('data', (text: string) => {
    const [first = '', ...more] = text.split('\n')
    if (more.length === 0) rest += first
    else {
      add(rest + first)
      rest = more.pop() ?? ''
      more.forEach(add)
    }
  })
  stream.on('end', () => {
    if (rest !== '') add(rest)
  })
}
