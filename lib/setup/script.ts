import type { RouteStep, SetupPart, SetupStep, SysctlStep } from './part.ts'

/** Parts as a script of the shell, which does them, and takes back what it did. */

export type SetupRole = 'director' | 'real-server'

export interface ScriptOptions {
  readonly role: SetupRole
  /** What it is for: a line of text, without controls. */
  readonly title: string
}

/**
 * A script of POSIX sh. It does what is not done yet, and notes how to take that back: with the argument `undo` it
 * does so, last first. With `plan` and `plan-undo` it only prints the commands. If it fails or is interrupted, it takes back
 * what it has done in this run. Each command is printed before it runs.
 */
export function setupScript(parts: readonly SetupPart[], { role, title }: ScriptOptions): string {
  const body = parts.map(({ why, steps }) => [...commentOf(why), ...steps.map(lineOf), ''].join('\n'))
  return [...headOf(role, title), body.join('\n')].join('\n')
}

function headOf(role: SetupRole, title: string): string[] {
  return `#!/bin/sh
# ${title}
#
# Run this as root. It does what is not done yet, prints it, and may run again.
#   sh FILE plan       prints the commands that it would run
#   sh FILE undo       takes back what it did since the machine was started
#   sh FILE plan-undo  prints the commands that undo would run
# To have all this after a reboot too, save it as /etc/ipvs-${role}.sh, write
# this to /etc/systemd/system/ipvs-${role}.service, and enable that:
#   [Unit]
#   Wants=network-online.target
#   After=network-online.target
#   [Service]
#   Type=oneshot
#   RemainAfterExit=yes
#   ExecStart=/bin/sh /etc/ipvs-${role}.sh
#   ExecStop=/bin/sh /etc/ipvs-${role}.sh undo
#   [Install]
#   WantedBy=multi-user.target
set -eu

# How to take back what was done in this network namespace, the latest last.
# In each line a test whether it is still so, a tab, and a command.
folder=/run/ipvs-setup
namespace=$(readlink /proc/self/ns/net | tr -cd 0-9)
record=$folder/${role}-$namespace
tab=$(printf '\\t')

lines() {
  if [ -e "$record" ]; then wc -l <"$record"; else echo 0; fi
}

# Prints, or runs, the commands that take back all but the first $2 lines.
take_back() {
  count=$(lines)
  while [ "$count" -gt "$2" ]; do
    line=$(sed -n "\${count}p" "$record")
    count=$((count - 1))
    if eval "\${line%%"$tab"*}" </dev/null >/dev/null 2>&1; then
      echo "\${line#*"$tab"}"
      if [ "$1" = run ] && ! eval "\${line#*"$tab"}" </dev/null >/dev/null; then
        echo "cannot take this back: \${line#*"$tab"}" >&2
        failed=1
      fi
    fi
    if [ "$1" = run ]; then sed -i '$d' "$record"; fi
  done
}

mode=\${1-run}
failed=0
case $mode in
  plan-undo) take_back print 0; exit ;;
  undo) take_back run 0; rm -f "$record"; exit "$failed" ;;
  run) umask 077; mkdir -p "$folder" ;;
esac

before=$(lines)
doing=
finish() {
  status=$?
  trap - EXIT
  trap '' HUP INT TERM
  if [ "$status" -ne 0 ]; then
    if [ -n "$doing" ]; then echo "this failed: $doing" >&2; fi
    take_back run "$before"
  fi
  exit "$status"
}
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Unless test $1 succeeds, runs $2. $3 takes it back, if anything does.
need() {
  if eval "$1" </dev/null >/dev/null 2>&1; then return; fi
  echo "$2"
  if [ "$mode" = plan ]; then return; fi
  doing=$2
  eval "$2" </dev/null >/dev/null
  doing=
  if [ -n "\${3-}" ]; then echo "$1$tab$3" >>"$record"; fi
}

# Sets sysctl $1 to $2. The kernel changes those behind them too.
setting() {
  test="[ \\"\\$(sysctl -n $1)\\" = $2 ]"
  change="sysctl -w $1=$2"
  back="sysctl -w $1=$(sysctl -n "$1" 2>/dev/null || :)"
  shift 2
  for other; do back="$back $other=$(sysctl -n "$other")"; done
  need "$test" "$change" "$back"
}

# Leads network $2 by $3, in the place of a route that may be there: without a
# metric, or for IPv6 with metric $4. $1 is ip or ip -6.
route() {
  if [ "$1" = ip ]; then
    old=$(ip route show exact "$2" | grep -v ' metric ' || :)
  else
    old=$(ip -6 route show exact "$2" | grep " metric \${4:-1024} " || :)
  fi
  old=$(echo "$old" | sed -n '1{s/ linkdown//; s/ expires [0-9]*sec//; p;}')
  if [ -n "$old" ]; then back="replace $old"; else back="delete $2 $3"; fi
  place="$2 $3\${4:+ metric $4}"
  need "$1 route show exact $2 | head -n 1 | grep -qF '$3 '" "$1 route replace $place" \\
    "$1 route $back"
}
`.split('\n')
}

function commentOf(why: string): string[] {
  const lines: string[] = []
  for (const word of why.split(' ')) {
    const last = lines.at(-1)
    if (last !== undefined && last.length + 1 + word.length <= WIDTH)
      lines[lines.length - 1] = `${last} ${word}`
    else lines.push(`# ${word}`)
  }
  return lines
}

const WIDTH = 80

function lineOf(step: SetupStep): string {
  switch (step.kind) {
    case 'sysctl':
      return settingOf(step)
    case 'route':
      return newRouteOf(step)
    case 'command':
      return `need ${[step.unless, step.command, ...(step.undo === undefined ? [] : [step.undo])].map(quoted).join(' \\\n  ')}`
  }
}

function settingOf({ name, value, changes = [] }: SysctlStep): string {
  return ['setting', name, value, ...changes].join(' ')
}

function newRouteOf({ family, to, by, metric }: RouteStep): string {
  const words = ['route', family === 'ipv4' ? 'ip' : "'ip -6'", to, quoted(by)]
  return [...words, ...(metric === undefined ? [] : [String(metric)])].join(' ')
}

/** A word of the shell. */
function quoted(text: string): string {
  return text.includes("'") && !/["$`\\]/.test(text) ? `"${text}"` : `'${text.replaceAll("'", "'\\''")}'`
}
