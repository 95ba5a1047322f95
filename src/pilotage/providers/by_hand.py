"""Jobs of providers that pilotage has no commands for: told of as what they are, for a person to end them."""

from __future__ import annotations

import shlex

from pilotage.journal import Entry

COMMANDS = {
    "LSFProvider": ("bkill", "{job_id}"),
    "CondorProvider": ("condor_rm", "{job_id}"),
    "TorqueProvider": ("qdel", "{job_id}"),
    "KubernetesProvider": ("kubectl", "delete", "pod", "{pod}", "--namespace", "{namespace}"),
    "AWSProvider": ("aws", "ec2", "terminate-instances", "--instance-ids", "{job_id}"),
}
"""What ends a job of Parsl's providers, by their classes' names."""


def end(entry: Entry) -> str:
    """Return what there is to do about a job: nothing was done."""
    provider = str(entry.what.get("provider", "a provider"))
    whose = f"only {provider} knows how it is ended, and that went with the driver"
    then = "pilotage rm --force takes it from the list with its run"
    if entry.id is None:
        return f"{whose}; whether it was submitted is not known. Look for the name, and end it by hand; {then}"
    return f"{whose}. End it by hand{_command(entry)}, if it is there still; {then}"


def _command(entry: Entry) -> str:
    known = {**entry.what, **(entry.id or {})}
    words = next((COMMANDS[name] for name in entry.what.get("classes", ()) if name in COMMANDS), None)
    if words is None:
        return ""
    try:
        return f": {shlex.join(word.format_map(known) for word in words)}"
    except KeyError:  # such as a pod whose name the provider did not tell
        return ""
