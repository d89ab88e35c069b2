"""Renders a table as HTML.

    {"rows": R, "columns": C, "seed": S}

The template is compiled anew for each event, as in the original. The numbers in
the table begin at the seed. The result is the SHA-256 of the page.
"""

import hashlib

from chameleon import PageTemplate

LARGEST = 1000  # rows or columns

TEMPLATE = """\
<table xmlns="http://www.w3.org/1999/xhtml" xmlns:tal="http://xml.zope.org/namespaces/tal">
  <tr tal:repeat="row python: options['table']">
    <td tal:repeat="cell python: row.values()">
      <span tal:define="n python: cell + 1" tal:attributes="class python: 'column-' + str(n)" tal:content="python: n" />
    </td>
  </tr>
</table>
"""


def handler(event, context):
    rows, columns = number(event, "rows", LARGEST), number(event, "columns", LARGEST)
    seed = number(event, "seed", 2**32 - 1)
    row = {str(i): seed + i for i in range(columns)}
    page = PageTemplate(TEMPLATE).render(options={"table": [row] * rows})
    return {"result": hashlib.sha256(page.encode()).hexdigest(), "bytes": len(page)}


def number(event, name, most):
    """A whole number of the event."""
    value = event.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ValueError(f"{name} must be a whole number from 1 to {most}")
    return value
