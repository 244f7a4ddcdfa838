// What readers of a library borrow: the loans of each reader and day, and the last loan of each book.

const TABLE = "loans_by_day";

/** The changes of an event, as projection.wit describes them. Integers of 64 bits are BigInts. */
export function project(event) {
  const loan = JSON.parse(event.data);
  for (const field of ["reader", "book"]) {
    // A text that is thrown is the reason of the dead letter.
    if (typeof loan[field] !== "string") throw `missing field \`${field}\``;
  }
  const day = event.time.slice(0, 10);
  switch (event.type) {
    case "BOOK_BORROWED":
      return [loans(loan.reader, day, 1n), holder(loan.book, event, set(text(loan.reader)))];
    case "BOOK_RETURNED":
      return [holder(loan.book, event, set({ tag: "null" }))];
    default:
      throw `\`${event.type}\` is not a type of loan events`;
  }
}

function loans(reader, day, count) {
  const cells = [{ column: "loans", operation: { tag: "add", val: { tag: "integer", val: count } } }];
  return { tag: "upsert", val: { table: TABLE, key: [text(reader), text(day)], cells } };
}

function holder(book, event, reader) {
  const cells = [
    { column: "reader", operation: reader },
    { column: "since", operation: set(text(event.time)) },
  ];
  return { tag: "upsert", val: { table: "books", key: [text(book)], cells } };
}

function set(value) {
  return { tag: "set", val: value };
}

function text(text) {
  return { tag: "text", val: text };
}
