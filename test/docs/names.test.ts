import { describe, expect, test } from 'vitest'
import * as testing from '../../lib/testing.ts'
import * as library from '../../lib/index.ts'
import { addonLoadError, platformError } from '../../lib/transport/load-addon.ts'
import { errnoName } from '../../lib/model/errno.ts'
import { brokenLink, codeSpans, headings, links, optionRows, pages, type Page, prose } from './markdown.ts'

const all = pages()

function page(name: string): Page {
  const found = all.find((candidate) => candidate.name === name)
  if (found === undefined) throw new Error(`there is no ${name}`)
  return found
}

const { Ipvs, RealServer, Service, StateSyntaxError } = library

describe('links', () => {
  test.each(all)('of $name lead somewhere', (from) => {
    const broken = links(from).flatMap(({ place, target }) => {
      const reason = brokenLink(from, target, all)
      return reason === undefined ? [] : [`${place}: ${target}: ${reason}`]
    })
    expect(broken).toEqual([])
  })

  test('that lead nowhere are found', () => {
    const from = {
      name: 'docs/here.md',
      lines: ['# Here', '[one](#here) [two](errors.md#nothing) [three](gone.md)'],
    }
    const targets = links(from).map(({ target }) => target)
    expect(targets).toEqual(['#here', 'errors.md#nothing', 'gone.md'])
    expect(targets.map((target) => brokenLink(from, target, [...all, from]))).toEqual([
      undefined,
      "docs/errors.md has no heading 'nothing'",
      'there is no docs/gone.md',
    ])
  })
})

describe('docs/errors.md', () => {
  const LARGEST_ERRNO = 4095
  const errnos = Array.from({ length: LARGEST_ERRNO }, (_, index) => errnoName(index + 1))
  const codes = [
    ...errnos.filter((name) => !name.startsWith('ERRNO_')),
    (platformError('plan9') as NodeJS.ErrnoException).code ?? '',
    (addonLoadError({ machine: 'linux', misses: [], told: false }) as NodeJS.ErrnoException).code ?? '',
    'ERR_IPVS_APPLY',
    'ERR_IPVS_EMPTY',
    'ERR_IPVS_GUARD',
    'ERR_IPVS_STALE_PLAN',
    new StateSyntaxError({ line: 1, column: 1, reason: '' }).code,
    'TypeError',
    'RangeError',
  ]

  test('has a heading for each code, and none for what is no code', () => {
    expect(headings(page('docs/errors.md'), '###').sort()).toEqual(codes.sort())
  })
})

/** The commands and options of ipvsadm 1.31. */
const IPVSADM = `-h --help -v --version -S --save -R --restore -c --connection -l -A --add-service -E --edit-service -D --delete-service -C --clear -a --add-server -e --edit-server
  -d --delete-server -L --list -Z --zero --set --start-daemon --stop-daemon
  -n --numeric -t --tcp-service -u --udp-service --sctp-service -f --fwmark-service -6 --ipv6 -s --scheduler
  -p --persistent -M --netmask -r --real-server -g --gatewaying -i --ipip -m --masquerading -w --weight
  -x --u-threshold -y --l-threshold --mcast-interface --timeout --daemon --stats --rate --thresholds
  --persistent-conn --sort --nosort --syncid -X --exact -o --ops --pe -b --sched-flags --mcast-group --mcast-port
  --mcast-ttl --sync-maxlen --tun-info --tun-type --tun-port --tun-nocsum --tun-csum --tun-remcsum`

describe('the tables for ipvsadm', () => {
  test('name every command and option', () => {
    const rows = optionRows(page('docs/ipvsadm.md'))
    const named = rows.flatMap(({ cells }) => codeSpans(cells[0] ?? '').flatMap((code) => code.split(' ')))
    expect(IPVSADM.split(/\s+/).filter((option) => !named.includes(option))).toEqual([])
  })
})

const KERNEL = [testing.MemoryKernel.prototype, testing.MemoryConnection.prototype]

describe('methods', () => {
  const methods = new Set([
    ...Object.keys(testing),
    ...Object.keys(library),
    // Inputs of docs/messages.md.
    addonLoadError.name,
    ...[Ipvs, Ipvs.prototype, Service.prototype, RealServer.prototype, ...KERNEL].flatMap((owner) =>
      Object.getOwnPropertyNames(owner),
    ),
  ])

  test.each(all)('that $name names are there', (from) => {
    const unknown = prose(from).flatMap(({ line, number }) =>
      codeSpans(line).flatMap((code) => {
        const method = /^(?:(?:Ipvs|ipvs|service|server|realServer|web|kernel)\.)?(\w+)\((?:\{.*\})?\)$/.exec(
          code,
        )?.[1]
        return method === undefined || methods.has(method) ? [] : [`${from.name}:${String(number)}: ${code}`]
      }),
    )
    expect(unknown).toEqual([])
  })
})
