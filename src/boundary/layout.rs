//! C structs with their layout in view: the offset of each field stands before it and is asserted.

/// Declares structs with the offset of each field, asserts both, and lists them in `LAYOUT`.
macro_rules! c_structs {
    ($(
        $(#[$doc:meta])*
        struct $name:ident = $c_name:literal in $header:literal, size $size:literal align $align:literal {
            $($offset:literal $field:ident : $type:ty,)*
        }
    )*) => {
        $(
            $(#[$doc])*
            ///
            /// cbindgen:ignore
            #[repr(C)]
            #[allow(missing_docs, reason = "the fields are documented in the header")]
            pub struct $name { $(pub $field: $type,)* }

            const _: () = {
                assert!(size_of::<$name>() == $size);
                assert!(align_of::<$name>() == $align);
                $(assert!(std::mem::offset_of!($name, $field) == $offset);)*
            };
        )*

        /// One row per struct and field, as `tests/abi/layout.txt` writes them.
        #[cfg(test)]
        pub(crate) fn layout_rows() -> Vec<String> {
            fn size_of_field<S, F>(_: fn(&S) -> &F) -> usize { size_of::<F>() }
            let mut rows = Vec::new();
            $(
                rows.push(format!(concat!($header, " ", $c_name, " size {} align {}"), $size, $align));
                $(
                    let field = stringify!($field).trim_start_matches("r#").trim_end_matches('_');
                    let size = size_of_field(|s: &$name| &s.$field);
                    rows.push(format!(concat!($header, " ", $c_name, ".{} offset {} size {}"), field, $offset, size));
                )*
            )*
            rows
        }
    };
}

pub(crate) use c_structs;
