import { lookup } from 'node:dns/promises'
import { open, readFile, realpath, rename, rm } from 'node:fs/promises'
import { basename, dirname, extname, join } from 'node:path'
import {
  parseState,
  type ParseStateOptions,
  type State,
  type StateFormat,
  StateSyntaxError,
} from '../index.ts'
import { FileError } from './errors.ts'
import type { Input } from './terminal.ts'

/** What a FILE of the command line means that is none: standard input. */
export const STDIN = '-'

const WORDS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EACCES: 'permission denied',
  EISDIR: 'it is a folder',
  ENOTDIR: 'its folder is no folder',
  EROFS: 'its file system is read-only',
  ENOSPC: 'no space is left',
  ERR_ENCODING_INVALID_ENCODED_DATA: 'it is no text in UTF-8',
}

/** Reads a text; `-` is standard input. */
export async function readText(file: string, stdin: Input): Promise<string> {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(
      file === STDIN ? await readAll(stdin) : await readFile(file),
    )
  } catch (error) {
    throw fileError('read', file, error)
  }
}

/** Reads a state in any of its forms. */
export async function readState(file: string, stdin: Input, options: ParseStateOptions = {}): Promise<State> {
  return parseText(await readText(file, stdin), file, options)
}

/** Reads a state; an error says where in the file. */
export async function parseText(text: string, file: string, options: ParseStateOptions = {}): Promise<State> {
  try {
    return await parseState(text, { lookupService, lookupHost, ...options })
  } catch (error) {
    if (!(error instanceof StateSyntaxError)) throw error
    throw new FileError(
      `${nameOf(file)}:${String(error.line)}:${String(error.column)}: ${error.reason}; nothing was done`,
    )
  }
}

/** Writes a text whole or not at all: into a file beside it, which then takes its name. */
export async function writeText(file: string, text: string): Promise<void> {
  // A link stays one.
  const target = await realpath(file).catch(() => file)
  const beside = join(dirname(target), `.${basename(target)}.${String(process.pid)}.new`)
  try {
    const handle = await open(beside, 'wx', 0o600)
    try {
      await handle.writeFile(text)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(beside, target)
  } catch (error) {
    await rm(beside, { force: true })
    throw fileError('write', file, error)
  }
}

/** The form that a file's name promises; `undefined` if it promises none. */
export function formatOfName(file: string): StateFormat | undefined {
  const formats: Readonly<Record<string, StateFormat>> = {
    '.json': 'json',
    '.yaml': 'yaml',
    '.yml': 'yaml',
    '.ipvsadm': 'ipvsadm',
  }
  return formats[extname(file).toLowerCase()]
}

export function nameOf(file: string): string {
  return file === STDIN ? 'standard input' : file
}

async function readAll(stdin: Input): Promise<Buffer> {
  const pieces: Buffer[] = []
  for await (const piece of stdin) pieces.push(typeof piece === 'string' ? Buffer.from(piece) : piece)
  return Buffer.concat(pieces)
}

function fileError(verb: string, file: string, error: unknown): FileError {
  const { code, message } = error as NodeJS.ErrnoException
  const words = WORDS[code ?? ''] ?? message
  return Object.assign(new FileError(`cannot ${verb} ${nameOf(file)}: ${words}`), { code })
}

/** Lines of ipvsadm may have names for numbers. */
async function lookupHost(name: string): Promise<string | undefined> {
  return (await lookup(name, { family: 4 }).catch(() => undefined))?.address
}

async function lookupService(name: string, protocol: string): Promise<number | undefined> {
  const text = await readFile('/etc/services', 'latin1').catch(() => '')
  for (const line of text.split('\n')) {
    const [first = '', entry = '', ...others] = line.replace(/#.*/, '').trim().split(/\s+/)
    const [, port, of] = /^(\d+)\/(\w+)$/.exec(entry) ?? []
    if (of === protocol && [first, ...others].includes(name)) return Number(port)
  }
  return undefined
}
