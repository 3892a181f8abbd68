"""What an account really holds, beside what Pulumi declares of it: ``falaj policy audit``.

`kinds` says what a kind of thing is, `table` lists those that are looked for, `account` asks AWS
for them, `declared` reads the states, `compare` says what differs and what the rules make of it,
`report` shows it. Nothing here writes to an account; `permissions` is all that it needs.
"""
