# libinline, shared and static, and what `make install` puts where.
include(GNUInstallDirs)

set(LIBRARY_FLOORS base os watch net kern model infer context complete api)
foreach(floor ${LIBRARY_FLOORS})
    list(APPEND library_objects $<TARGET_OBJECTS:inline_${floor}>)
endforeach()

set(library_links "") # what the grammars add, if there are any
if(TARGET inline_grammars)
    list(APPEND library_objects $<TARGET_OBJECTS:inline_grammars>)
    set(library_links PkgConfig::TREE_SITTER)
    set(PC_GRAMMARS "-ltree-sitter ")
endif()

# Everything is compiled with hidden visibility: only what inline.h marks INLINE_API is exported.
add_library(libinline_shared SHARED ${library_objects})
target_link_libraries(libinline_shared PRIVATE PkgConfig::PCRE2 PkgConfig::XXHASH ${library_links}
                      Threads::Threads dl m)
set_target_properties(libinline_shared PROPERTIES OUTPUT_NAME inline VERSION ${PROJECT_VERSION} SOVERSION 0
                                                  LINKER_LANGUAGE C)
target_link_options(libinline_shared PRIVATE -Wl,--no-undefined)
if(INLINE_SANITIZE) # the sanitizers' run-time lives in the program
    target_link_options(libinline_shared PRIVATE -Wl,-z,undefs)
endif()

# The static library is one object whose internal names are local, so that they cannot clash with the
# embedding program's.
set(static_library ${CMAKE_BINARY_DIR}/libinline.a)
add_custom_command(
    OUTPUT ${static_library}
    COMMAND ${CMAKE_LINKER} -r -o libinline.o ${library_objects}
    COMMAND ${CMAKE_OBJCOPY} --localize-hidden libinline.o
    COMMAND ${CMAKE_COMMAND} -E rm -f ${static_library}
    COMMAND ${CMAKE_AR} rcs ${static_library} libinline.o
    DEPENDS ${library_objects}
    COMMAND_EXPAND_LISTS
    VERBATIM)
add_custom_target(libinline_static ALL DEPENDS ${static_library})

configure_file(${CMAKE_CURRENT_LIST_DIR}/inline.pc.in inline.pc @ONLY)
configure_file(${CMAKE_SOURCE_DIR}/dist/systemd/inline.service.in inline.service @ONLY)

install(TARGETS inline RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS libinline_shared LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES ${static_library} DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/inline.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${CMAKE_BINARY_DIR}/inline.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES docs/man/inline.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES tools/completions/inline.bash RENAME inline
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES tools/completions/_inline DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
install(FILES tools/completions/inline.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
install(FILES ${CMAKE_BINARY_DIR}/inline.service dist/systemd/inline.socket DESTINATION lib/systemd/user)
